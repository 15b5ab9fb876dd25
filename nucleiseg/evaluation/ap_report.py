"""Compute average precision of masks and boxes, by detection limit, class, size and image."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nucleiseg.evaluation.coco_ap import ceiling
from nucleiseg.evaluation.engine import APResult, Matching
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.sizes import ALL_SIZES, SIZES, SizeRange
from nucleiseg.rle import area

BOARD_LIMIT = 100
"""Detections an image that COCO's own tool evaluates, and so the homework's board."""


@dataclass(frozen=True)
class APScores:
    """Average precision of masks and of boxes, at all detections.

    Attributes:
        masks: with the IoU of masks.
        boxes: with the IoU of boxes.
    """

    masks: APResult
    boxes: APResult

    def to_dict(self, suffix: str = "") -> dict[str, float | None]:
        """Return `ap`, `ap50`, `ap75`, `box_ap` ..., each with the suffix; undefined values are None."""
        named = {f"{key}{suffix}": value for key, value in self.masks._asdict().items()}
        named |= {f"box_{key}{suffix}": value for key, value in self.boxes._asdict().items()}
        return {key: None if math.isnan(value) else value for key, value in named.items()}


@dataclass(frozen=True)
class APGroup:
    """Average precision of some of the instances: of one class or of one range of sizes.

    Attributes:
        truths: number of true instances.
        results: number of results.
        at_all: at all detections.
        at_100: at 100 detections an image and class; None where it is not computed.
    """

    truths: int
    results: int
    at_all: APScores
    at_100: APScores | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the group's line of `per_class` or `by_size`."""
        at_100 = self.at_100.to_dict("_100") if self.at_100 else {}
        return {"truths": self.truths, "results": self.results, **self.at_all.to_dict(), **at_100}


@dataclass(frozen=True)
class APReport:
    """Average precision of a set of images.

    Attributes:
        at_all: at all detections.
        at_100: at 100 detections an image and class.
        ap50_100_ceiling: the best AP50 of masks that 100 detections an image and class allow.
        per_class: name of a class -> its numbers.
        by_size: name of a range of sizes -> its numbers, at all detections.
        images: the scores of each image alone, at all detections.
    """

    at_all: APScores
    at_100: APScores
    ap50_100_ceiling: float
    per_class: Mapping[str, APGroup]
    by_size: Mapping[str, APGroup]
    images: tuple[APScores, ...]


def report_ap(truths: Sequence[Instances], detections: Sequence[Instances], categories: Mapping[int, str]) -> APReport:
    """Match masks once and boxes once, and compute every average precision from these matches.

    Args:
        truths: the true instances of each image.
        detections: those detected in each image, in the same order.
        categories: label -> name of the class; classes without a name are called by their label.
    """
    masks, boxes = (
        Matching(truths, detections, kind=kind, limits=(None, BOARD_LIMIT), sizes=(ALL_SIZES, *SIZES))
        for kind in ("segm", "bbox")
    )
    of_masks, of_boxes = masks.pooled(), boxes.pooled()

    def scores(limit: int | None = None, label: int | None = None, size: int = 0) -> APScores:
        return APScores(*(kind.result(limit, label=label, size=size) for kind in (of_masks, of_boxes)))

    names = class_names(categories, [*truths, *detections])
    true_labels, labels = _label_counts(truths), _label_counts(detections)
    true_sizes, sizes = _size_counts(truths), _size_counts(detections)
    return APReport(
        at_all=scores(),
        at_100=scores(BOARD_LIMIT),
        ap50_100_ceiling=ceiling([image.masks for image in truths], BOARD_LIMIT, labels=[i.labels for i in truths]),
        per_class={
            name: APGroup(true_labels[label], labels[label], scores(label=label), scores(BOARD_LIMIT, label))
            for label, name in names.items()
        },
        by_size={
            size.name: APGroup(true_sizes[size], sizes[size], scores(size=number))
            for number, size in enumerate(SIZES, 1)
        },
        images=tuple(
            APScores(masks.of_image(index).result(), boxes.of_image(index).result()) for index in range(len(truths))
        ),
    )


def class_names(categories: Mapping[int, str], images: Sequence[Instances]) -> dict[int, str]:
    """Name the classes that are declared or used, in ascending label; classes of one name also get their label."""
    used = {int(label) for image in images for label in image.labels}
    names = {label: categories.get(label, str(label)) for label in sorted(used | categories.keys())}
    common = Counter(names.values())
    return {label: name if common[name] == 1 else f"{name} ({label})" for label, name in names.items()}


def _label_counts(images: Sequence[Instances]) -> Counter[int]:
    return Counter(int(label) for image in images for label in image.labels)


def _size_counts(images: Sequence[Instances]) -> dict[SizeRange, int]:
    """Count the masks in each range of sizes."""
    pixels = area([mask for image in images for mask in image.masks])
    return {size: int(((pixels >= size.least) & (pixels <= size.most)).sum()) for size in SIZES}
