"""Settings of a network: frozen, checked dataclasses with one field for each key of `conf/model/*.yaml`.

    config = ModelConfig(name="mine", family="c4", weights="coco/r50_c4_3x")
    config = ModelConfig.from_dict({"name": "mine", "rpn": {"nms": 0.6}}, "model")

The defaults are those of detectron2's COCO Mask R-CNN R50-FPN, except the anchor sizes (a nucleus in H&E at 40x is 8
to 64 pixels wide) and the limit on detections (an image holds hundreds of nuclei). "Network pixels" are pixels of the
image tensor that enters the network, after resizing.

Upper bounds are far above every published setting: a value beyond them exhausts memory or runs for hours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from nucleiseg.errors import InputError
from nucleiseg.models.backbones.families import find_backbone, require_family
from nucleiseg.models.backbones.registry import BackboneSource
from nucleiseg.models.norm import NormName
from nucleiseg.models.part_configs import (
    MOST_ANCHORS,
    AnchorConfig,
    DetectionConfig,
    LossWeights,
    MaskConfig,
    RoIConfig,
    RPNConfig,
)
from nucleiseg.renamed_keys import WITHOUT_EFFECT, with_current_model_keys
from nucleiseg.settings import AsTuple, Settings, settings

Family = Literal["fpn", "c4", "dc5"]
NumericsName = Literal["detectron2", "torchvision"]
RoIOperation = Literal["align", "pool"]

AUTO = "auto"
"""`weights=auto`: the model's COCO weights if they can be downloaded (`models.pretrained`), else random weights."""

FPN_LEVELS = 5
"""Feature maps of the pyramid that carry anchors: p2 to p6, of strides 4, 8, 16, 32 and 64."""

LARGEST_LAYER = 2**29
"""Weights of the box head's first layer: 2 GB in float32. DC5's, the largest of the zoo, has 103 million."""

MOST_ROI_FEATURES = 2**31
"""Numbers that are pooled for the RoIs of one image in training: 8 GB in float32. C4 pools 103 million."""

WIDEST_MAP = {"c4": 1024, "dc5": 2048}
"""Channels of the map that RoIs are pooled from, in the ResNets of the zoo; FPN's are `fpn_channels`."""

Channels = Annotated[int, Field(ge=1, le=4096)]
Mean = Annotated[float, Field(ge=0, le=255)]
Deviation = Annotated[float, Field(gt=0, le=1e4)]


@settings
class ModelConfig(Settings):
    """A whole network.

    Attributes:
        name: shown in tables and names of run folders.
        family: features of the RoI heads: `fpn` a pyramid, `c4` res4 with res5 in the head, `dc5` a dilated res5.
        backbone: name of a registered backbone (`models.backbones`) or of a model of timm.
        backbone_source: `registry` or `timm`, where `backbone` is looked up.
        numerics: numerical conventions to follow; `torchvision` (FPN only) is for weights trained there.
        weights: pretrained weights to start from (see `models.pretrained`): `auto`, a name of `models.zoo`, or a file;
            None starts from random ones.
        norm: normalization of a ResNet; None follows the weights (`frozen_bn` with, `gn` without). `own` for all other
            backbones, which have normalization layers of their own.
        freeze_at: backbone stages that are not trained, as detectron2 counts them (1 the stem, 2 also res2); None
            follows the weights (2 with, 0 without; 0 for backbones other than ResNets).
        stride_in_1x1: stride of a bottleneck in its first 1x1 convolution (MSRA's weights) or in the 3x3; None
            follows the weights, as do the next two (see `models.pretrained_defaults`).
        pixel_mean: RGB, 0 to 255, subtracted from the image.
        pixel_std: RGB, by which the image is then divided (1 for MSRA's weights).
        fpn_channels: width of the pyramid's maps. None is 256 in FPN; C4 and DC5 have no pyramid.
        roi_pool: how a RoI's features are read from the maps: `align` (bilinear, exact) or `pool` (maximum over whole
            cells, as before Mask R-CNN; for comparison).
        anchors, rpn, roi, mask, detection, loss_weights: see their classes.

    A field without an effect in the family is None, and accepts nothing else.
    """

    name: str
    family: Family = "fpn"
    backbone: str = "resnet50"
    backbone_source: BackboneSource = "registry"
    numerics: NumericsName = "detectron2"
    weights: str | None = None
    norm: NormName | None = None
    freeze_at: Annotated[int, Field(ge=0, le=5)] | None = None
    stride_in_1x1: bool | None = None
    pixel_mean: Annotated[tuple[Mean, Mean, Mean], AsTuple] | None = None
    pixel_std: Annotated[tuple[Deviation, Deviation, Deviation], AsTuple] | None = None
    fpn_channels: Channels | None = None
    roi_pool: RoIOperation = "align"
    anchors: AnchorConfig = AnchorConfig()
    rpn: RPNConfig = RPNConfig()
    roi: RoIConfig = RoIConfig()
    mask: MaskConfig = MaskConfig()
    detection: DetectionConfig = DetectionConfig()
    loss_weights: LossWeights = LossWeights()

    def __post_init__(self) -> None:
        defaults = {key: value for key, value in FAMILY_DEFAULTS.items() if key not in WITHOUT_EFFECT[self.family]}
        for key, value in defaults.items():
            part, _, name = key.rpartition(".")
            if value_at(self, key) is None:
                changed = replace(getattr(self, part), **{name: value}) if part else value
                object.__setattr__(self, part or name, changed)

    def contradictions(self, at: str) -> Iterator[str]:
        """Refuse what the family or the numerics do not have, and layers that exhaust memory."""
        for key in WITHOUT_EFFECT[self.family]:
            if value_at(self, key) is not None:
                value = str(value_at(self, key)).lower()
                yield f"{at}{key} is {value}; it accepts null with {at}family={self.family}, where it has no effect."
        if self.numerics == "torchvision" and self.family != "fpn":
            yield (
                f"{at}numerics is torchvision; it accepts detectron2 with {at}family={self.family}: torchvision has "
                "Mask R-CNN with FPN only."
            )
        yield from self._refused_backbone(at)
        yield from self._refused_anchors(at)
        channels = self.fpn_channels or WIDEST_MAP.get(self.family, 1)
        features = channels * self.roi.pool**2
        if self.roi.fc_dim and features * self.roi.fc_dim > LARGEST_LAYER:
            yield (
                f"{at}roi.fc_dim is {self.roi.fc_dim}; it accepts up to {LARGEST_LAYER // features} with "
                f"{at}roi.pool={self.roi.pool} and {channels} channels: the layer needs more than 2 GB."
            )
        if features * self.roi.batch_size > MOST_ROI_FEATURES:
            yield (
                f"{at}roi.batch_size is {self.roi.batch_size}; it accepts up to {MOST_ROI_FEATURES // features} with "
                f"{at}roi.pool={self.roi.pool} and {channels} channels: their features need more than 8 GB."
            )

    def _refused_backbone(self, at: str) -> Iterator[str]:
        try:
            entry = find_backbone(self.backbone, self.backbone_source)
            require_family(entry, self.family)
        except InputError as error:
            yield from (f"{at}{problem}" for problem in error.problems)
            return
        norms = ("own",) if entry.has_own_norm else ("frozen_bn", "bn", "gn")
        if self.norm is not None and self.norm not in norms:
            yield f"{at}norm is {self.norm!r}; it accepts {', '.join(norms)} or null with {at}backbone={self.backbone}."
        if entry.has_own_norm and self.stride_in_1x1:
            yield f"{at}stride_in_1x1 is true; it accepts false or null with {at}backbone={self.backbone}, no ResNet."

    def _refused_anchors(self, at: str) -> Iterator[str]:
        sizes, ratios = len(self.anchors.sizes), len(self.anchors.ratios)
        is_per_level = self.family == "fpn" and not self.anchors.every_level
        if is_per_level and sizes != FPN_LEVELS:
            yield (
                f"{at}anchors.sizes has {sizes} sizes; it accepts {FPN_LEVELS} with {at}family=fpn, one for each map "
                f"(or any number with {at}anchors.every_level=true)."
            )
        elif not is_per_level and sizes * ratios > MOST_ANCHORS:
            yield (
                f"{at}anchors has {sizes} sizes with {ratios} ratios; it accepts up to {MOST_ANCHORS} anchors at a "
                "place."
            )

    @classmethod
    def from_dict(cls, mapping: object, key: str | None = None, *, complete: bool = False) -> Self:
        """Build as `Settings.from_dict`; keys of older versions are accepted under their old names."""
        if isinstance(mapping, Mapping):
            mapping = with_current_model_keys(mapping)
        return super().from_dict(mapping, key, complete=complete)


FAMILY_DEFAULTS: dict[str, Any] = {
    "fpn_channels": 256,
    "anchors.every_level": False,
    "roi.fc_dim": 1024,
    "mask.pool": 14,
    "mask.convs": 4,
}
"""Defaults of the keys that not every family has, where they have an effect."""


def value_at(config: ModelConfig, key: str) -> Any:  # noqa: ANN401
    """Return the value of a dotted key, such as `roi.fc_dim`."""
    part, _, name = key.rpartition(".")
    return getattr(getattr(config, part) if part else config, name)
