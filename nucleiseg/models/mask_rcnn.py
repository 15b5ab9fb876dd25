"""Mask R-CNN: backbone, region proposals and RoI heads assembled."""

from dataclasses import asdict, fields, replace

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN as TorchvisionMaskRCNN
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.rpn import RPNHead

from nucleiseg.models.anchor_sampler import AnchorSampler
from nucleiseg.models.anchors import GridAnchorGenerator, sizes_per_level
from nucleiseg.models.backbones.families import BackboneParts, ResNetSpec, build_backbone
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.heads import BoxHead, BoxPredictor, MaskPredictor
from nucleiseg.models.input_transform import InputTransform
from nucleiseg.models.numerics import NUMERICS
from nucleiseg.models.pretrained_defaults import defaults_of, resolved
from nucleiseg.models.res5_heads import Res5RoIHeads
from nucleiseg.models.roi_heads import RoIHeads
from nucleiseg.models.roi_pool import RoIPool
from nucleiseg.models.rpn import ProposalNetwork
from nucleiseg.structures import Prediction, Target

POOL_LEVELS = ("0", "1", "2", "3")
"""p2 to p5, from which RoIs are pooled; p6 ("pool") carries anchors alone."""


class MaskRCNN(TorchvisionMaskRCNN):
    """torchvision's Mask R-CNN, assembled from parts that take label-map layers and return masks inside their boxes.

    The constructors of torchvision's MaskRCNN and FasterRCNN build RPN, RoI heads and transform from fixed classes;
    they are skipped for GeneralizedRCNN's, which takes the parts.

    Args:
        config: settings of the network.
        num_classes: K, foreground classes; labels are 1 .. K.
        backbone: widths and depths, if they are not those of `config.backbone` (for small networks in tests).

    Attributes:
        config: as given, with every setting that follows the weights resolved, so that it rebuilds this network.
        num_classes: as given.

    Raises:
        InputError: if the configuration contradicts itself.
    """

    def __init__(self, config: ModelConfig, num_classes: int, *, backbone: ResNetSpec | None = None) -> None:
        numerics = NUMERICS[config.numerics]
        defaults = defaults_of(config)
        parts = build_backbone(
            family=config.family,
            backbone=backbone or config.backbone,
            source=config.backbone_source,
            norm=defaults.norm,
            bn_eps=numerics.bn_eps,
            stride_in_1x1=defaults.stride_in_1x1,
            freeze_at=defaults.freeze_at,
            fpn_channels=config.fpn_channels or 0,
        )
        GeneralizedRCNN.__init__(
            self,
            parts.backbone,
            _build_rpn(config, parts),
            _build_roi_heads(config, parts, num_classes),
            InputTransform(
                pixel_mean=defaults.pixel_mean,
                pixel_std=defaults.pixel_std,
                size_divisible=parts.backbone.size_divisibility,
                unit_range=numerics.unit_range,
            ),
        )
        self.config = resolved(config)
        self.num_classes = num_classes

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses that `forward` returns, in the order in which they are logged."""
        return tuple(f"loss_{field.name}" for field in fields(self.config.loss_weights))

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Prediction]:
        """Compute losses where targets are given, else detect.

        Args:
            images: (3, h, w) uint8 or float RGB, 0 to 255, of any sizes.
            targets: the instances of each image, on the same device.

        Returns:
            The losses by their `loss_names`, weighted by `config.loss_weights`; or a Prediction per image, in pixels of
            the given image.

        Raises:
            ValueError: in train mode without targets.
        """
        if self.training and targets is None:
            raise ValueError("training needs targets; call eval() first to predict")
        batch, targets = self.transform(images, targets)
        features = self._features(batch.tensors)
        proposals, rpn_losses = self.rpn(batch, features, targets)
        predictions, roi_losses = self.roi_heads(features, proposals, batch.image_sizes, targets)
        if targets is None:
            return predictions
        weights = asdict(self.config.loss_weights)
        return {name: loss * weights[name.removeprefix("loss_")] for name, loss in {**rpn_losses, **roi_losses}.items()}

    def masks(self, images: list[Tensor], boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """Compute the masks of given boxes, without RPN and box head.

        Args:
            images: B images as in `forward`.
            boxes: B tensors (N, 4), x1, y1, x2, y2 in pixels of the given images.
            labels: B tensors (N,) int64 of the boxes' classes.

        Returns:
            B tensors (N, M, M) of probabilities, as `Prediction.masks`.
        """
        batch, _ = self.transform(images, None)
        features = self._features(batch.tensors)
        return [
            self.roi_heads.masks({name: maps[index : index + 1] for name, maps in features.items()}, *of_image)
            for index, of_image in enumerate(zip(boxes, labels, strict=True))
        ]

    def _features(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the feature maps of a (B, 3, h, w) normalized batch by name."""
        if pixels.device.type == "cpu" and not torch.is_grad_enabled():
            # Channels-last, which the features keep: an R50-FPN backbone takes 0.74 of the time. With gradients the
            # backward pass loses more than the forward pass gains, and in torch 2.15 that of a small strided 1x1
            # convolution writes past its memory.
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        features: dict[str, Tensor] = self.backbone(pixels)
        return features

    def anchor_sampler(self) -> AnchorSampler:
        """Return a sampler of anchors for the loader's workers; the losses stay equal to the bit."""
        return self.rpn.anchor_sampler(self.backbone.size_divisibility)

    @torch.no_grad()
    def validation_losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """Return the losses of `forward` as in evaluation: no gradient, no running statistic touched.

        Targets without a seed get one, so that checkpoints are compared on the same anchors and RoIs. The mode of every
        module is restored.
        """
        modes = {module: module.training for module in self.modules()}
        self.eval()
        try:
            seeded = [target if target.seed is not None else replace(target, seed=0) for target in targets]
            losses = self(images, seeded)
        finally:
            for module, training in modes.items():
                module.training = training
        return losses


def build(config: ModelConfig, num_classes: int, *, backbone: ResNetSpec | None = None) -> MaskRCNN:
    """Build a network with random weights; see `MaskRCNN`. `models.pretrained` loads others."""
    return MaskRCNN(config, num_classes, backbone=backbone)


def _build_rpn(config: ModelConfig, parts: BackboneParts) -> ProposalNetwork:
    numerics = NUMERICS[config.numerics]
    strides = tuple(parts.backbone.strides.values())
    sizes = sizes_per_level(config.anchors.sizes, len(strides), every_level=bool(config.anchors.every_level))
    anchors = GridAnchorGenerator(sizes=sizes, strides=strides, ratios=config.anchors.ratios, numerics=numerics)
    head = RPNHead(parts.backbone.out_channels, anchors.num_anchors_per_location()[0])
    return ProposalNetwork(anchor_generator=anchors, head=head, numerics=numerics, **asdict(config.rpn))


def _build_roi_heads(config: ModelConfig, parts: BackboneParts, num_classes: int) -> RoIHeads:
    numerics = NUMERICS[config.numerics]
    channels = parts.backbone.out_channels
    names = POOL_LEVELS if config.family == "fpn" else tuple(parts.backbone.strides)
    strides = [parts.backbone.strides[name] for name in names]

    def pool(size: int) -> RoIPool:
        return RoIPool(
            feature_names=names, strides=strides, output_size=size, operation=config.roi_pool, numerics=numerics
        )

    if parts.res5 is not None:
        shared = pool(config.roi.pool)
        return Res5RoIHeads(
            box_pool=shared,
            box_head=parts.res5,
            box_predictor=BoxPredictor(parts.res5_channels, num_classes, numerics),
            mask_pool=shared,
            mask_head=torch.nn.Identity(),
            mask_predictor=MaskPredictor(parts.res5_channels, config.mask.channels, num_classes, numerics),
            roi=config.roi,
            detection=config.detection,
            numerics=numerics,
        )
    roi, mask = config.roi, config.mask
    assert roi.fc_dim is not None
    assert mask.pool is not None
    assert mask.convs is not None
    return RoIHeads(
        box_pool=pool(roi.pool),
        box_head=BoxHead(channels * roi.pool**2, roi.fc_dim),
        box_predictor=BoxPredictor(roi.fc_dim, num_classes, numerics),
        mask_pool=pool(mask.pool),
        mask_head=MaskRCNNHeads(channels, [mask.channels] * mask.convs, 1),
        mask_predictor=MaskPredictor(mask.channels if mask.convs else channels, mask.channels, num_classes, numerics),
        roi=roi,
        detection=config.detection,
        numerics=numerics,
    )
