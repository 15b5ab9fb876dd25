"""Describe the training data in sentences, and warn if the settings of a run do not fit them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np

from nucleiseg.progress import counted, duration
from nucleiseg.report.anchor_fit import AnchorLevel, best_anchor_iou

if TYPE_CHECKING:  # a leaderboard does not need them, and Albumentations takes a second to import
    from nucleiseg.models.config import ModelConfig
    from nucleiseg.transforms.recipe import Recipe

ANCHOR_IOU = 0.5
"""Below this IoU with its best anchor, the box of a nucleus is hard to regress."""

COVERED_SHARE = 0.9
"""Warn if fewer nuclei than this share have such an anchor."""

SCALE_SPREAD = 1.25
"""Warn if the scales of images differ by more than this factor (as in prediction, `SCALE_TOLERANCE`)."""


class Finding(NamedTuple):
    """One sentence of the check; a warning names the parameter to change."""

    level: Literal["info", "warning"]
    sentence: str


class ImageSummary(Protocol):
    """Size of an image in pixels and its (N, 4) boxes x1, y1, x2, y2 in these pixels."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def boxes(self) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True)
class RunPlan:
    """Estimated disk space and time of a run.

    Attributes:
        steps: optimizer steps.
        checkpoints: step checkpoints that are kept at the end.
        checkpoint_bytes: estimated size of a checkpoint (weights).
        last_bytes: estimated size of `last.ckpt` (weights and optimizer).
        free_bytes: free space where the run writes; None if not known.
        seconds_per_step: None if not known.
    """

    steps: int
    checkpoints: int
    checkpoint_bytes: int
    last_bytes: int
    free_bytes: int | None = None
    seconds_per_step: float | None = None


def data_check(
    summaries: Sequence[ImageSummary],
    *,
    recipe: "Recipe",
    anchors: Sequence[AnchorLevel],
    model: "ModelConfig",
    plan: RunPlan | None = None,
) -> list[Finding]:
    """Describe the data as the network will see them, and warn if the settings do not fit.

    Args:
        summaries: the images to train on.
        recipe: their augmentation; gives the training scale and the size of a crop.
        anchors: the feature maps with their anchors.
        model: its per-image limits on candidates, proposals and detections.
        plan: disk and time; None if nothing will be written.

    Returns:
        The findings, in reading order.
    """
    counts = np.array([len(summary.boxes) for summary in summaries])
    if counts.sum() == 0:
        sentence = f"None of the {len(counts)} images has a nucleus, so nothing can be learned: check the data's root."
        return [Finding("warning", sentence)]
    scales = np.array([recipe.nominal_scale(summary.height, summary.width) for summary in summaries])
    scaled = [summary.boxes * scale for summary, scale in zip(summaries, scales, strict=True)]
    boxes = np.concatenate([of_image.reshape(-1, 4) for of_image in scaled])
    findings = [*_describe_counts(counts), _describe_sizes(boxes, scales), *_check_scales(summaries, scales)]
    findings += [_check_anchors(boxes, anchors)]
    findings += _check_limits(summaries, counts, model, recipe)
    return findings + (_describe_plan(plan) if plan is not None else [])


def _describe_counts(counts: np.ndarray) -> list[Finding]:
    sentence = (
        f"{len(counts)} images with {counts.sum():,} nuclei; in an image {counts.min():,} at least, "
        f"{np.median(counts):,.0f} in the median, {counts.mean():,.0f} on average, {counts.max():,} at most."
    )
    empty = int((counts == 0).sum())
    note = [Finding("info", f"{counted(empty, 'image')} without a nucleus: used as background only.")] if empty else []
    return [Finding("info", sentence), *note]


def _describe_sizes(boxes: np.ndarray, scales: np.ndarray) -> Finding:
    lowest, highest = f"{scales.min():.2f}", f"{scales.max():.2f}"
    scale = lowest if lowest == highest else f"{lowest} to {highest}"
    low, middle, high = np.percentile(_sizes(boxes), [5, 50, 95])
    return Finding(
        "info",
        f"Training shows {scale} pixels for each pixel of an image; there, nuclei measure {low:.0f}, {middle:.0f} and "
        f"{high:.0f} pixels (5th, 50th and 95th percentile of the square root of the box's area).",
    )


def _check_scales(summaries: Sequence[ImageSummary], scales: np.ndarray) -> list[Finding]:
    if scales.max() <= SCALE_SPREAD * scales.min():
        return []
    height = min(summary.height for summary in summaries)
    width = min(summary.width for summary in summaries)
    return [
        Finding(
            "warning",
            f"Training magnifies some images {scales.max() / scales.min():.1f} times as much as others, because their "
            "sizes differ: equal nuclei then appear at different sizes. If all images have the same resolution, set "
            f"crop to [HEIGHT, WIDTH] in pixels, no larger than the smallest image allows ({height} x {width}).",
        )
    ]


def _check_anchors(boxes: np.ndarray, anchors: Sequence[AnchorLevel]) -> Finding:
    covered = best_anchor_iou(boxes, anchors) >= ANCHOR_IOU
    share = covered.mean()
    sentence = f"{share:.1%} of the nuclei have an anchor of IoU >= {ANCHOR_IOU} at the training scale"
    if share >= COVERED_SHARE:
        return Finding("info", f"{sentence}.")
    sizes = np.concatenate([level.sizes for level in anchors])
    missed = float(np.median(_sizes(boxes[~covered])))
    if missed < sizes.min():
        advice = f"add a size near {missed:.0f} to anchors.sizes, or enlarge with resize.short"
    elif missed > sizes.max():
        advice = f"add a size near {missed:.0f} to anchors.sizes, or shrink with resize.short"
    else:
        advice = f"move anchors.sizes closer to {missed:.0f}"
        if len(anchors) == 1:
            advice += f", or take an FPN model: this one has anchors only every {anchors[0].stride:g} pixels"
    return Finding("warning", f"Only {sentence}; the others measure {missed:.0f} pixels in the median: {advice}.")


def _check_limits(
    summaries: Sequence[ImageSummary], counts: np.ndarray, model: "ModelConfig", recipe: "Recipe"
) -> list[Finding]:
    shares = []
    for summary in summaries:
        height, width = recipe.crop_shape(summary.height, summary.width)
        shares.append(height * width / (summary.height * summary.width))
    in_crop = np.ceil(counts * np.array(shares)).astype(np.int64)
    rpn, crop = model.rpn, "proposals in an average training crop"
    return [
        *_check_proposals(in_crop, rpn.pre_nms_train, rpn.post_nms_train, crop, "train"),
        *_check_proposals(counts, rpn.pre_nms_test, rpn.post_nms_test, "proposals in a whole image", "test"),
        _check_limit(counts, model.detection.limit, "detections in a whole image", "detection.limit"),
    ]


def _check_proposals(counts: np.ndarray, candidates: int, proposals: int, what: str, mode: str) -> list[Finding]:
    """Check both limits: proposals are selected from the candidates of each map, and nuclei of one size share a map."""
    before, after = f"rpn.pre_nms_{mode}", f"rpn.post_nms_{mode}"
    short = candidates < counts.max()
    finding = _check_limit(
        counts, proposals, what, f"{after} and {before} (candidates on each map)" if short else after
    )
    if finding.level == "warning" or not short:
        return [finding]
    return [
        finding,
        Finding(
            "warning",
            f"The limit of {candidates:,} candidates on each map may still cut nuclei, if most have one "
            f"size and so lie on one map: raise {before} above {counts.max():,}.",
        ),
    ]


def _check_limit(counts: np.ndarray, limit: int, what: str, key: str) -> Finding:
    lost = int((counts - limit).clip(min=0).sum())
    if lost == 0:
        return Finding("info", f"The limit of {limit:,} {what} ({key}) cuts no image: {counts.max():,} nuclei at most.")
    return Finding(
        "warning",
        f"The limit of {limit:,} {what} cuts {int((counts > limit).sum())} of {counted(len(counts), 'image')} and at "
        f"least {lost:,} of {counts.sum():,} nuclei: raise {key} above {counts.max():,}.",
    )


def _describe_plan(plan: RunPlan) -> list[Finding]:
    states = min(plan.checkpoints, 2)
    total = plan.checkpoints * plan.checkpoint_bytes + states * plan.last_bytes
    checkpoints = f"{counted(plan.checkpoints, 'checkpoint')} of {_size(plan.checkpoint_bytes)}"
    names = "last.ckpt and previous.ckpt of" if states == 2 else "last.ckpt of"
    disk = f"{checkpoints}, {names} {_size(plan.last_bytes)}{' each' * (states == 2)}: {_size(total)} on the disk"
    if plan.free_bytes is not None and plan.free_bytes < total:
        advice = (
            f"but {_size(plan.free_bytes)} are free: delete files, or write checkpoints less often (every) or keep "
            "fewer (keep)"
        )
        findings = [Finding("warning", f"{disk}, {advice}.")]
    else:
        findings = [Finding("info", f"{disk}.")]
    if plan.seconds_per_step is not None:
        time = duration(plan.steps * plan.seconds_per_step)
        findings.append(Finding("info", f"{plan.steps:,} steps of {plan.seconds_per_step:.2g} s: about {time}."))
    return findings


def _sizes(boxes: np.ndarray) -> np.ndarray:
    return np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _size(count: float) -> str:
    """Return a number of bytes as text: `141 MB`, `1.9 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
