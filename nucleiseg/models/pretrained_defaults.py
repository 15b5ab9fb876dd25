"""Default settings that depend on the pretrained weights.

Weights load into any network of the same shapes, but predict badly if normalization, strides or input scaling differ
from their training. These settings therefore follow the weights where the configuration leaves them open.
"""

from dataclasses import dataclass, replace

from nucleiseg.models.backbones.families import find_backbone
from nucleiseg.models.backbones.registry import BackboneSource
from nucleiseg.models.config import AUTO, ModelConfig
from nucleiseg.models.norm import NormName, resolve_norm_and_freeze

PIXEL_MEAN = (123.675, 116.28, 103.53)
"""ImageNet's, RGB, 0 to 255: what all weights of the zoo were trained with."""

PIXEL_STD = (58.395, 57.12, 57.375)
"""ImageNet's, RGB."""


@dataclass(frozen=True)
class PretrainedDefaults:
    """Settings of a network that follow its weights.

    Attributes:
        norm: normalization of the backbone.
        freeze_at: backbone stages that are not trained, from the stem.
        stride_in_1x1: bottlenecks subsample in the first 1x1 convolution, not in the 3x3.
        pixel_mean: RGB, 0 to 255.
        pixel_std: RGB.
    """

    norm: NormName
    freeze_at: int
    stride_in_1x1: bool
    pixel_mean: tuple[float, float, float] = PIXEL_MEAN
    pixel_std: tuple[float, float, float] = PIXEL_STD


MSRA = PretrainedDefaults(norm="frozen_bn", freeze_at=2, stride_in_1x1=True, pixel_std=(1.0, 1.0, 1.0))
"""ResNet-50 and -101 of He et al. 2016 (Caffe), from which detectron2's were trained: pixels are not divided, since
the first convolution holds the division."""

UNIT_VARIANCE = PretrainedDefaults(norm="frozen_bn", freeze_at=2, stride_in_1x1=False)
"""torchvision's ResNets ("V1.5"), and detectron2's ResNeXt-101."""

SCRATCH = PretrainedDefaults(norm="gn", freeze_at=0, stride_in_1x1=False)
"""Random weights: inputs of unit variance, which weight initialization assumes; the stride in the 3x3, since in
the 1x1 it drops three quarters of the features below."""


def expected_by(weights: str | None, backbone: str, source: BackboneSource = "registry") -> PretrainedDefaults:
    """Return the settings that weights of this name were trained with.

    Args:
        weights: a name of the zoo, or a file, which is assumed to be detectron2's.
            None and `auto` stand for random weights.
        backbone: that they belong to.
        source: of its name.
    """
    if find_backbone(backbone, source).has_own_norm:
        mean, std = (PIXEL_MEAN, PIXEL_STD)
        if source == "timm":
            from nucleiseg.models.backbones.timm_models import pixel_statistics  # timm is installed by now

            mean, std = pixel_statistics(backbone)
        return PretrainedDefaults("own", 0, stride_in_1x1=False, pixel_mean=mean, pixel_std=std)
    if weights in (None, AUTO):
        return SCRATCH
    msra = backbone in ("resnet50", "resnet101") and not str(weights).startswith("torchvision")
    return MSRA if msra else UNIT_VARIANCE


def defaults_of(config: ModelConfig, expected: PretrainedDefaults | None = None) -> PretrainedDefaults:
    """Return the settings of a network: those given, and the weights' for those left open.

    Args:
        config: None in `norm`, `freeze_at`, `stride_in_1x1`, `pixel_mean` and `pixel_std` leaves them open.
        expected: settings of the weights, if more is known than their name (see `expected_by`).

    Raises:
        InputError: if random weights would be frozen.
    """
    expected = expected or expected_by(config.weights, config.backbone, config.backbone_source)
    freeze_at = config.freeze_at
    if freeze_at is None and config.norm in (None, expected.norm):
        freeze_at = expected.freeze_at
    weights = None if config.weights == AUTO else config.weights
    norm, freeze_at, _ = resolve_norm_and_freeze(weights, config.norm or expected.norm, freeze_at)
    stride_in_1x1 = expected.stride_in_1x1 if config.stride_in_1x1 is None else config.stride_in_1x1
    pixel_mean, pixel_std = config.pixel_mean or expected.pixel_mean, config.pixel_std or expected.pixel_std
    return PretrainedDefaults(norm, freeze_at, stride_in_1x1, pixel_mean, pixel_std)


def resolved(config: ModelConfig, expected: PretrainedDefaults | None = None) -> ModelConfig:
    """Return the configuration with every open setting resolved, as checkpoints store it; see `defaults_of`."""
    weights = None if config.weights == AUTO else config.weights
    return replace(config, weights=weights, **vars(defaults_of(config, expected)))
