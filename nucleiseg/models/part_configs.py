"""Settings of the parts of a network: anchors, RPN, box head, mask head, detections, weights of the losses.

`models.config` puts them together. Upper bounds are far above every published setting: a value beyond them exhausts
memory or runs for hours.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from nucleiseg.settings import Accepts, AsTuple, Settings, Share, settings

MOST_ANCHORS = 128
"""Anchors at one place of a map; the study's largest setting has 15."""


Proposals = Annotated[int, Field(ge=1, le=50_000)]


PoolSide = Annotated[int, Field(ge=1, le=64)]


Beta = Annotated[float, Field(ge=0, le=1000)]


LossWeight = Annotated[float, Field(ge=0, le=1e6)]


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
