"""Differences between detectron2's and torchvision's Mask R-CNN: one named knob each, with its reason.

Both share architecture and papers, but weights trained under one set of conventions lose accuracy under the other,
mostly on small objects (half a pixel matters for a nucleus). Every part of the network takes a `Numerics`, so each
convention is defined once, here.
"""

from dataclasses import dataclass

from nucleiseg.structures import Pasting


@dataclass(frozen=True)
class Numerics:
    """The conventions of one library.

    Attributes:
        name: the value of `numerics` that selects it.
        unit_range: images are divided by 255 before mean and deviation (divided as well) are applied. The same numbers
            up to rounding; but fifty random layers make 5e-4 pixels of that, more than anything else that differs.
        round_anchors: cell anchors are rounded to whole pixels and ordered ratio first, size second (torchvision),
            or left as computed, ordered size first, ratio second (detectron2). Rounding makes an 8-pixel anchor of
            ratio 0.5 measure 12x6 instead of 11.31x5.66; the order permutes the RPN's output channels.
        nominal_strides: anchors lie at multiples of the level's stride (4, 8, 16, ...) and RoIs are scaled by its
            inverse. torchvision derives both from shapes (image side // map side): on a map whose side was
            rounded up, its stride is smaller than the network's (224 // 4 = 56 instead of 64).
        bn_eps: epsilon of frozen batch normalization. torchvision's module has 1e-5 too, but its COCO detection
            weights were trained without and it sets 0 whenever it loads them. Frozen normalization makes sense
            with such weights alone, so its numerics use 0.
        rpn_nms_on_probabilities: proposals are ranked by sigmoid(logit), where saturated ones tie, or by the logit.
        rpn_min_size: proposals need sides above this, in pixels of the network's input.
        rpn_min_size_inclusive: sides equal to `rpn_min_size` pass as well.
        rpn_smooth_l1_beta: where the RPN's box loss turns from square to absolute; 0 is pure L1.
        rpn_loss_over_constant: the RPN's losses are divided by (anchors to sample) x (images), a constant; else by
            the number of anchors that were really sampled.
        roi_align_aligned: RoIAlign shifts by half a pixel, so that pixel centers lie at .5, and does not
            enlarge RoIs to one cell.
        roi_align_sampling_ratio: sampling points per bin and direction; 0 takes ceil(bin size), so that none of the
            features under a large RoI is left out.
        level_eps_inside_log: a RoI's pyramid level is floor(4 + log2(sqrt(area) / 224 + 1e-8)) (detectron2) or
            floor(4 + log2(sqrt(area) / 224) + 1e-6) (torchvision): they differ for RoIs on the border of levels.
        box_smooth_l1_beta: as `rpn_smooth_l1_beta`, for the box head.
        background_deltas: the box head predicts 4 deltas for the background as well, 4(K + 1) columns instead of 4K.
        soft_mask_targets: mask targets keep the fractions that resampling gives; else they are 1 where >= 0.5.
        detection_min_size: detections need sides of at least this many pixels; 0 keeps all.
        pasting: predicted masks are resized, with a border of zeros, to a box of whole pixels (torchvision) or
            sampled at pixel centers in the exact box (detectron2); both are then cut at 0.5.
    """

    name: str
    unit_range: bool
    round_anchors: bool
    nominal_strides: bool
    bn_eps: float
    rpn_nms_on_probabilities: bool
    rpn_min_size: float
    rpn_min_size_inclusive: bool
    rpn_smooth_l1_beta: float
    rpn_loss_over_constant: bool
    roi_align_aligned: bool
    roi_align_sampling_ratio: int
    level_eps_inside_log: bool
    box_smooth_l1_beta: float
    background_deltas: bool
    soft_mask_targets: bool
    detection_min_size: float
    pasting: Pasting


DETECTRON2 = Numerics(
    name="detectron2",
    unit_range=False,
    round_anchors=False,
    nominal_strides=True,
    bn_eps=1e-5,
    rpn_nms_on_probabilities=False,
    rpn_min_size=0.0,
    rpn_min_size_inclusive=False,
    rpn_smooth_l1_beta=0.0,
    rpn_loss_over_constant=True,
    roi_align_aligned=True,
    roi_align_sampling_ratio=0,
    level_eps_inside_log=True,
    box_smooth_l1_beta=0.0,
    background_deltas=False,
    soft_mask_targets=False,
    detection_min_size=0.0,
    pasting="detectron2",
)
"""What the model zoo's weights were trained with; the default."""

TORCHVISION = Numerics(
    name="torchvision",
    unit_range=True,
    round_anchors=True,
    nominal_strides=False,
    bn_eps=0.0,
    rpn_nms_on_probabilities=True,
    rpn_min_size=1e-3,
    rpn_min_size_inclusive=True,
    rpn_smooth_l1_beta=1 / 9,
    rpn_loss_over_constant=False,
    roi_align_aligned=False,
    roi_align_sampling_ratio=2,
    level_eps_inside_log=False,
    box_smooth_l1_beta=1 / 9,
    background_deltas=True,
    soft_mask_targets=True,
    detection_min_size=1e-2,
    pasting="torchvision",
)
"""What torchvision's own COCO weights (FPN models) were trained with."""

NUMERICS: dict[str, Numerics] = {numerics.name: numerics for numerics in (DETECTRON2, TORCHVISION)}
"""The choices of `numerics`."""
