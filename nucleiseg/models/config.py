"""What a network is made of: frozen dataclasses, one field a key of `conf/model/*.yaml`.

The defaults are detectron2's of its COCO Mask R-CNN with R50-FPN, but for the anchor sizes (a nucleus of H&E at
40x is 8 to 64 pixels wide) and the limit on detections (hundreds of nuclei an image). "Network pixels" are
pixels of the image tensor that enters the network, after resizing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

from nucleiseg.errors import InputError
from nucleiseg.models.plain import from_mapping, to_mapping

Family = Literal["fpn", "c4", "dc5"]
TrunkName = Literal["resnet18", "resnet50", "resnet101", "resnext101_32x8d"]
Numerics = Literal["detectron2", "torchvision"]
NormName = Literal["frozen_bn", "bn", "gn"]
RoIOperation = Literal["align", "pool"]

AUTO = "auto"
"""The value of `model.weights` that stands for the model's COCO weights, if they can be had: `models.pretrained` puts
their name in its place. A network that is built without is one of random weights."""

FPN_LEVELS = 5
"""Feature maps of the pyramid that carry anchors: p2 to p6, of strides 4, 8, 16, 32 and 64."""


@dataclass(frozen=True)
class AnchorConfig:
    """The boxes that the RPN starts from.

    Attributes:
        sizes: square roots of the anchors' areas, in network pixels. C4 and DC5 lay all of them on their one map;
            FPN takes one for each of its five maps, the finest first.
        ratios: height / width.
        every_level: FPN only: lay all sizes on every map (as the study did by accident).
    """

    sizes: tuple[float, ...] = (8, 16, 32, 64, 128)
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    every_level: bool = False


@dataclass(frozen=True)
class RPNConfig:
    """Training of the region proposal network, and how many proposals it hands on.

    Attributes:
        pre_nms_train: proposals kept by logit before NMS in training; for FPN on each map.
        pre_nms_test: the same in prediction.
        post_nms_train: proposals kept after NMS in training, of all maps together.
        post_nms_test: the same in prediction.
        nms: proposals that overlap a better one by an IoU above this are dropped.
        positive_iou: anchors of at least this IoU with an instance's box are positive.
        negative_iou: anchors whose best IoU is below this are negative.
        batch_size: anchors sampled an image; the losses are divided by it (torchvision: by what was sampled).
        positive_fraction: share of the sampled anchors that may be positive.
        smooth_l1_beta: where the box loss turns from quadratic to linear; 0 is L1. None follows `numerics`: 0 for
            detectron2, 1/9 for torchvision.
    """

    pre_nms_train: int = 2000
    pre_nms_test: int = 1000
    post_nms_train: int = 1000
    post_nms_test: int = 1000
    nms: float = 0.7
    positive_iou: float = 0.7
    negative_iou: float = 0.3
    batch_size: int = 256
    positive_fraction: float = 0.5
    smooth_l1_beta: float | None = None


@dataclass(frozen=True)
class RoIConfig:
    """The box head: classes and refined boxes of the proposals.

    Attributes:
        batch_size: proposals sampled an image in training.
        positive_fraction: share of them that may be positive.
        positive_iou: proposals of at least this IoU with an instance's box are positive, the others background.
        pool: side of the grid that RoIAlign makes of a proposal. With C4 it feeds res5, which halves it and whose
            features the mask head doubles again: C4 masks are `pool` x `pool`.
        fc_dim: width of the two fully connected layers (C4 has none).
        smooth_l1_beta: as in `RPNConfig`.
    """

    batch_size: int = 512
    positive_fraction: float = 0.25
    positive_iou: float = 0.5
    pool: int = 7
    fc_dim: int = 1024
    smooth_l1_beta: float | None = None


@dataclass(frozen=True)
class MaskConfig:
    """The mask head.

    Attributes:
        pool: side of the grid that RoIAlign makes of a box; masks are twice as fine. C4 shares the box head's
            features and ignores it.
        convs: 3x3 convolutions before the deconvolution (C4: 0).
        channels: width of these and of the deconvolution.
    """

    pool: int = 14
    convs: int = 4
    channels: int = 256


@dataclass(frozen=True)
class DetectionConfig:
    """What a prediction keeps.

    Attributes:
        score_threshold: detections must score more than this.
        nms: detections that overlap a better one of their class by an IoU above this are dropped.
        limit: detections kept an image (detectron2: 100; the study: 500).
    """

    score_threshold: float = 0.05
    nms: float = 0.5
    limit: int = 500


@dataclass(frozen=True)
class LossWeights:
    """Factors of the five losses in their sum."""

    rpn_cls: float = 1.0
    rpn_loc: float = 1.0
    cls: float = 1.0
    box_reg: float = 1.0
    mask: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """A whole network.

    Attributes:
        name: what tables and run folders call it.
        family: where the RoI heads get their features: `fpn` a pyramid, `c4` res4 with res5 in the head, `dc5` a
            dilated res5.
        trunk: the ResNet below.
        numerics: whose arithmetic to follow; `torchvision` (FPN only) is for weights trained there.
        weights: pretrained weights to start from (see `models.pretrained`): `auto`, a name of `models.zoo`, or a file;
            None starts from random ones.
        norm: normalisation of the trunk; None follows the weights (`frozen_bn` with, `gn` without).
        freeze_at: trunk stages that are not trained, as detectron2 counts them (1 the stem, 2 also res2); None
            follows the weights (2 with, 0 without).
        stride_in_1x1: stride of a bottleneck in its first 1x1 convolution (MSRA's weights) or in the 3x3; None
            follows the weights, as do the next two (see `models.conventions`).
        pixel_mean: RGB, 0 to 255, subtracted from the image.
        pixel_std: RGB, what the image is then divided by (MSRA's weights expect 1).
        fpn_channels: width of the pyramid's maps.
        roi_pool: how a RoI's features are read off the maps: `align` (bilinear, exact) or `pool` (maximum over whole
            cells, as before Mask R-CNN; for comparison).
        anchors, rpn, roi, mask, detection, loss_weights: see their classes.
    """

    name: str
    family: Family = "fpn"
    trunk: TrunkName = "resnet50"
    numerics: Numerics = "detectron2"
    weights: str | None = None
    norm: NormName | None = None
    freeze_at: int | None = None
    stride_in_1x1: bool | None = None
    pixel_mean: tuple[float, float, float] | None = None
    pixel_std: tuple[float, float, float] | None = None
    fpn_channels: int = 256
    roi_pool: RoIOperation = "align"
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    rpn: RPNConfig = field(default_factory=RPNConfig)
    roi: RoIConfig = field(default_factory=RoIConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    detection: DetectionConfig = field(default_factory=DetectionConfig)
    loss_weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        problems = [*_out_of_range(self, "model"), *self._contradictions()]
        if problems:
            raise InputError(problems)

    def _contradictions(self) -> list[str]:
        problems = [
            f"model.anchors.{key} is empty; it needs at least one number."
            for key in ("sizes", "ratios")
            if not getattr(self.anchors, key)
        ]
        if self.numerics == "torchvision" and self.family != "fpn":
            problems.append(
                f"model.numerics=torchvision with model.family={self.family}: torchvision has Mask R-CNN with FPN "
                "alone; use model.numerics=detectron2."
            )
        if self.trunk == "resnet18" and self.family != "fpn":
            problems.append(
                f"model.trunk=resnet18 with model.family={self.family}: ResNet-18 exists with FPN alone; use "
                f"model=r18_fpn, or model=r50_{self.family}."
            )
        per_level = self.family == "fpn" and not self.anchors.every_level
        if per_level and len(self.anchors.sizes) != FPN_LEVELS:
            problems.append(
                f"model.anchors.sizes has {len(self.anchors.sizes)} sizes; FPN takes {FPN_LEVELS}, one a map (or "
                "any number with model.anchors.every_level=true)."
            )
        if self.rpn.negative_iou > self.rpn.positive_iou:
            problems.append(
                f"model.rpn.negative_iou={self.rpn.negative_iou} is above model.rpn.positive_iou="
                f"{self.rpn.positive_iou}; lower it."
            )
        return problems

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Self:
        """Build from plain Python, as YAML or a checkpoint gives it.

        Raises:
            InputError: for an unknown key, a wrong type, a value out of its range, or keys that contradict.
        """
        return from_mapping(cls, mapping, "model")

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python that `from_dict` takes back."""
        return to_mapping(self)


_FRACTIONS = {"nms", "positive_iou", "negative_iou", "positive_fraction", "score_threshold"}
_MAY_BE_ZERO = {"smooth_l1_beta", "convs", "freeze_at", "pixel_mean", "rpn_cls", "rpn_loc", "cls", "box_reg", "mask"}


def _out_of_range(config: Any, prefix: str) -> list[str]:  # noqa: ANN401
    """Return a sentence for each number of a (nested) config that no network can be built with."""
    problems = []
    for item in fields(config):
        value, key = getattr(config, item.name), f"{prefix}.{item.name}"
        if hasattr(value, "__dataclass_fields__"):
            problems += _out_of_range(value, key)
            continue
        numbers = [
            number
            for number in (value if isinstance(value, tuple) else (value,))
            if isinstance(number, int | float) and not isinstance(number, bool)
        ]
        if item.name in _FRACTIONS and not all(0 <= number <= 1 for number in numbers):
            problems.append(f"{key} is {value}; it accepts a number from 0 to 1.")
        elif item.name in _MAY_BE_ZERO and not all(number >= 0 for number in numbers):
            problems.append(f"{key} is {value}; it accepts nothing negative.")
        elif item.name not in _FRACTIONS | _MAY_BE_ZERO and not all(number > 0 for number in numbers):
            problems.append(f"{key} is {value}; it accepts numbers above 0.")
    return problems
