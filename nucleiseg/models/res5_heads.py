"""RoI heads of C4: the backbone's last stage, res5, runs on every RoI."""

from typing import Any

from torch import Tensor
from torchvision.models.resnet import Bottleneck

from nucleiseg.models.roi_heads import Features, RoIHeads
from nucleiseg.models.roi_samples import RoISamples, foreground_of


class Res5RoIHeads(RoIHeads):
    """The RoI heads of C4: res5 makes features of each RoI, which boxes and masks share.

    In training the mask branch takes the foreground rows of the features that the box branch computed: one pass of
    res5. In prediction it makes a second one, on the final boxes.

    `box_head` is res5; `mask_head` does nothing; both pools are the same. Where res5 begins by subsampling in 1x1
    convolutions (MSRA's weights), three of four pooled bins would be discarded, so they are not pooled.
    """

    def __init__(self, **parts: Any) -> None:  # noqa: ANN401
        super().__init__(**parts)
        # Every how many pooled bins res5 reads: the stride of its first 1x1 convolutions, which is taken out of them. A
        # block that subsamples in its 3x3 reads all bins, as do those of a backbone other than a ResNet.
        self.every = 1
        block = self.box_head[0]
        if isinstance(block, Bottleneck):
            self.every = block.conv1.stride[0]
            if self.every > 1 and block.downsample is not None:
                block.conv1.stride = block.downsample[0].stride = (1, 1)

    def _box_features(self, features: Features, boxes: list[Tensor]) -> Tensor:
        return self.box_head(self.box_roi_pool(features, boxes, every=self.every))

    def _mask_features(self, features: Features, boxes: list[Tensor]) -> Tensor:
        return self._box_features(features, boxes)

    def _training_mask_features(self, features: Features, box_features: Tensor, samples: list[RoISamples]) -> Tensor:
        return foreground_of(box_features, samples)
