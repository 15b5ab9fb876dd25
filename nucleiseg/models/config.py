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
from nucleiseg.renamed_keys import WITHOUT_EFFECT, with_current_model_keys
from nucleiseg.settings import Accepts, AsTuple, Settings, Share, settings

Family = Literal["fpn", "c4", "dc5"]
NumericsName = Literal["detectron2", "torchvision"]
RoIOperation = Literal["align", "pool"]

AUTO = "auto"
"""`weights=auto`: the model's COCO weights if they can be downloaded (`models.pretrained`), else random weights."""

FPN_LEVELS = 5
"""Feature maps of the pyramid that carry anchors: p2 to p6, of strides 4, 8, 16, 32 and 64."""

MOST_ANCHORS = 128
"""Anchors at one place of a map; the study's largest setting has 15."""

LARGEST_LAYER = 2**29
"""Weights of the box head's first layer: 2 GB in float32. DC5's, the largest of the zoo, has 103 million."""

MOST_ROI_FEATURES = 2**31
"""Numbers that are pooled for the RoIs of one image in training: 8 GB in float32. C4 pools 103 million."""

WIDEST_MAP = {"c4": 1024, "dc5": 2048}
"""Channels of the map that RoIs are pooled from, in the ResNets of the zoo; FPN's are `fpn_channels`."""

Proposals = Annotated[int, Field(ge=1, le=50_000)]
Channels = Annotated[int, Field(ge=1, le=4096)]
PoolSide = Annotated[int, Field(ge=1, le=64)]
Beta = Annotated[float, Field(ge=0, le=1000)]
LossWeight = Annotated[float, Field(ge=0, le=1e6)]
Mean = Annotated[float, Field(ge=0, le=255)]
Deviation = Annotated[float, Field(gt=0, le=1e4)]
Sizes = Annotated[
    tuple[Annotated[float, Field(gt=0, le=10_000)], ...],
    AsTuple,
    Field(min_length=1, max_length=MOST_ANCHORS),
    Accepts(f"a list of 1 to {MOST_ANCHORS} numbers above 0, up to 10,000"),
]
Ratios = Annotated[
    tuple[Annotated[float, Field(ge=0.01, le=100)], ...],
    AsTuple,
    Field(min_length=1, max_length=MOST_ANCHORS),
    Accepts(f"a list of 1 to {MOST_ANCHORS} numbers from 0.01 to 100"),
]


@settings
class AnchorConfig(Settings):
    """Anchors of the RPN.

    Attributes:
        sizes: square roots of the anchors' areas, in network pixels. C4 and DC5 place all of them on their one map;
            FPN takes one for each of its five maps, the finest first.
        ratios: height / width.
        every_level: FPN only: place all sizes on every map. None is False in FPN.
    """

    sizes: Sizes = (8, 16, 32, 64, 128)
    ratios: Ratios = (0.5, 1.0, 2.0)
    every_level: bool | None = None


@settings
class RPNConfig(Settings):
    """Training of the region proposal network, and the number of proposals it passes on.

    Attributes:
        pre_nms_train: proposals kept by logit before NMS in training; for FPN on each map.
        pre_nms_test: the same in prediction.
        post_nms_train: proposals kept after NMS in training, over all maps.
        post_nms_test: the same in prediction.
        nms: proposals that overlap a better one by an IoU above this are dropped.
        positive_iou: anchors of at least this IoU with an instance's box are positive.
        negative_iou: anchors whose best IoU is below this are negative.
        batch_size: anchors sampled per image; the losses are divided by it (torchvision: by the number sampled).
        positive_fraction: share of the sampled anchors that may be positive.
        smooth_l1_beta: where the box loss turns from quadratic to linear; 0 is L1. None follows `numerics`: 0 for
            detectron2, 1/9 for torchvision.
    """

    pre_nms_train: Proposals = 2000
    pre_nms_test: Proposals = 1000
    post_nms_train: Proposals = 1000
    post_nms_test: Proposals = 1000
    nms: Share = 0.7
    positive_iou: Share = 0.7
    negative_iou: Share = 0.3
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    positive_fraction: Share = 0.5
    smooth_l1_beta: Beta | None = None

    def contradictions(self, at: str) -> Iterator[str]:
        """Refuse IoU thresholds in the wrong order."""
        if self.negative_iou > self.positive_iou:
            yield (
                f"{at}negative_iou is {self.negative_iou:g}; it accepts a number up to {at}positive_iou="
                f"{self.positive_iou:g}."
            )


@settings
class RoIConfig(Settings):
    """The box head: classes and refined boxes of the proposals.

    Attributes:
        batch_size: proposals sampled per image in training.
        positive_fraction: share of them that may be positive.
        positive_iou: proposals of at least this IoU with an instance's box are positive, the others background.
        pool: side of the grid that RoIAlign makes of a proposal. In C4 it feeds res5, which halves it, and the mask
            head doubles it again: C4 masks are `pool` x `pool`.
        fc_dim: width of the two fully connected layers. None is 1024 in FPN and DC5; C4 has no such layers.
        smooth_l1_beta: as in `RPNConfig`.
    """

    batch_size: Annotated[int, Field(ge=1, le=100_000)] = 512
    positive_fraction: Share = 0.25
    positive_iou: Share = 0.5
    pool: PoolSide = 7
    fc_dim: Annotated[int, Field(ge=1, le=16_384)] | None = None
    smooth_l1_beta: Beta | None = None


@settings
class MaskConfig(Settings):
    """The mask head.

    Attributes:
        pool: side of the grid that RoIAlign makes of a box; masks are twice as fine. None is 14 in FPN and DC5; C4
            shares the box head's features.
        convs: 3x3 convolutions before the deconvolution. None is 4 in FPN and DC5; C4 has none.
        channels: width of these and of the deconvolution.
    """

    pool: PoolSide | None = None
    convs: Annotated[int, Field(ge=0, le=16)] | None = None
    channels: Annotated[int, Field(ge=1, le=2048)] = 256


@settings
class DetectionConfig(Settings):
    """Detections that a prediction keeps.

    Attributes:
        score_threshold: detections must score more than this.
        nms: detections that overlap a better one of their class by an IoU above this are dropped.
        limit: detections kept per image (detectron2: 100; the study: 500).
    """

    score_threshold: Share = 0.05
    nms: Share = 0.5
    limit: Proposals = 500


@settings
class LossWeights(Settings):
    """Factors of the losses in their sum; the network's losses are these fields, in this order."""

    rpn_cls: LossWeight = 1.0
    rpn_loc: LossWeight = 1.0
    cls: LossWeight = 1.0
    box_reg: LossWeight = 1.0
    mask: LossWeight = 1.0


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
