"""Layers on pooled RoIs: torchvision's modules, initialized as in detectron2.

                 pooled            features                 outputs
    DC5, FPN     C x 7 x 7    ->   fc, fc              ->   K + 1 class logits, 4K box deltas
                 C x 14 x 14  ->   3x3 convolutions    ->   K masks of 28 x 28
    C4           C x 14 x 14  ->   res5, 2048 x 7 x 7  ->   spatial mean -> class logits and box deltas
                                                       ->   K masks of 14 x 14, from the same features

C: channels of the feature maps. K: foreground classes.
"""

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

from nucleiseg.models.numerics import DETECTRON2, Numerics


class BoxHead(TwoMLPHead):
    """Two fully connected layers with ReLU; Kaiming-uniform weights (a = 1) and zero biases.

    Args:
        in_features: channels x side x side of a pooled RoI.
        width: outputs of each layer.
    """

    def __init__(self, in_features: int, width: int) -> None:
        super().__init__(in_features, width)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)


class BoxPredictor(FastRCNNPredictor):
    """Class logits, background first, and the box deltas of each class.

    detectron2 predicts deltas for the K foreground classes; torchvision also for the background, which no loss ever
    reaches. Weights are normal, of standard deviation 0.01 for the logits and 0.001 for the deltas, biases zero:
    an untrained head leaves the proposals where they are.

    Args:
        in_features: features of a RoI; (N, in_features) or, from res5, (N, in_features, h, w), which are averaged.
        num_classes: K, foreground classes.
        numerics: whether the background has deltas.
    """

    def __init__(self, in_features: int, num_classes: int, numerics: Numerics = DETECTRON2) -> None:
        super().__init__(in_features, num_classes + 1)
        if not numerics.background_deltas:
            self.bbox_pred = nn.Linear(in_features, num_classes * 4)
        for layer, deviation in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=deviation)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, K + 1) class logits and (N, 4K) (torchvision: (N, 4(K + 1))) deltas, class-major."""
        if features.dim() == 4:
            features = features.mean(dim=(2, 3))
        return self.cls_score(features), self.bbox_pred(features)


class MaskPredictor(MaskRCNNPredictor):
    """A deconvolution that doubles the map, ReLU, and a 1x1 convolution to one map a class.

    The deconvolution starts Kaiming-normal (fan out), the 1x1 normal of standard deviation 0.001: masks start at 0.5.

    A 2x2 deconvolution of stride 2 makes four pixels out of each one, independently: four linear layers. As matrix
    products over the pixels both layers run at the speed of convolutions, and only the finished masks, a channel a
    class, are rearranged to the doubled map, not the 256 channels before.

    Args:
        in_channels: of the mask head's features.
        channels: between the two layers.
        num_classes: K, foreground classes.
        numerics: torchvision has a map for the background as well, never trained or read.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, numerics: Numerics = DETECTRON2) -> None:
        super().__init__(in_channels, channels, num_classes + numerics.background_deltas)
        nn.init.normal_(self.mask_fcn_logits.weight, std=0.001)
        nn.init.zeros_(self.mask_fcn_logits.bias)
        nn.init.zeros_(self.conv5_mask.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, K, 2h, 2w) logits for (N, in_channels, h, w) features."""
        count, _, height, width = features.shape
        doubled, logits = self.conv5_mask, self.mask_fcn_logits
        weight = doubled.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (2 * 2 * channels, in_channels)
        pixels = F.linear(features.permute(0, 2, 3, 1), weight, doubled.bias.repeat(4))
        pixels = pixels.relu_().view(count, height, width, 2, 2, doubled.out_channels)
        maps = F.linear(pixels, logits.weight.flatten(1), logits.bias)  # (N, h, w, 2, 2, K)
        return maps.permute(0, 5, 1, 3, 2, 4).reshape(count, logits.out_channels, 2 * height, 2 * width)
