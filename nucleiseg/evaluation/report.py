"""Every metric of a set of images as one flat, JSON-ready dictionary, with the definition of each number in it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from nucleiseg.evaluation.coco_ap import APResult, average_precisions, ceiling
from nucleiseg.evaluation.contingency import contingency_table
from nucleiseg.evaluation.instance_metrics import InstanceMetrics, Tally, pool, tally
from nucleiseg.evaluation.label_maps import paint
from nucleiseg.evaluation.results import ImageResults
from nucleiseg.evaluation.thresholds import COUNT_THRESHOLD
from nucleiseg.evaluation.truth import ImageId, ImageTruth

BOARD_LIMIT = 100
"""Detections an image that COCO's own tool, and so the homework's board, looks at."""

_AP = (
    "COCO average precision of masks, all images together: precision interpolated at 101 recalls, averaged over the "
    "classes that have a truth; results of every score take part; null where there is no truth"
)
_EMPTY = "1 where truth and prediction are both empty, 0 where one of them is"
_POOLED = f"numerator and denominator are added over all images (their mean: mean_over_images); {_EMPTY}"

DEFINITIONS: Mapping[str, str] = {
    "ap": f"{_AP}. Mean over IoU thresholds 0.50, 0.55 .. 0.95, all detections.",
    "ap50": f"{_AP}. IoU threshold 0.50, all detections.",
    "ap75": f"{_AP}. IoU threshold 0.75, all detections.",
    "ap_100": "As ap, but only the 100 most confident detections of each image and class count (COCO's maxDets).",
    "ap50_100": "As ap50, but only the 100 most confident detections of each image and class count.",
    "ap75_100": "As ap75, but only the 100 most confident detections of each image and class count.",
    "ap50_100_ceiling": "The ap50_100 that the truth itself gets on these images: no result can score more.",
    "aji": "Aggregated Jaccard index (Kumar et al. 2017): each truth takes the prediction of the best IoU, which "
    f"several truths may share; {_POOLED}.",
    "aji_plus": "AJI+ (Graham et al. 2019): as aji, but each prediction serves one truth at most, in the matching with "
    f"the largest sum of IoU; {_POOLED}.",
    "dq": f"Detection quality 2 TP / (2 TP + FP + FN), a match being a pair with IoU > 0.5; {_POOLED}.",
    "sq": f"Segmentation quality: mean IoU of the matches of dq in all images; 0 without a match; {_EMPTY}.",
    "pq": "Panoptic quality (Kirillov et al. 2019): dq * sq.",
    "dice": f"Dice coefficient of the foreground, all instances as one; {_POOLED}.",
    "f1": "F1 of instances at IoU 0.5: by definition the same number as dq, under the name that others use.",
    "count_mae": "Mean over images of |number of predictions - number of truths|.",
    "count_bias": "Mean over images of (number of predictions - number of truths): above 0 where too many are found.",
    "count_threshold": "Counts and the metrics of label maps (aji .. f1) use results with a score of at least this.",
    "label_maps": "Overlaps are resolved by painting in ascending score, so that the most confident result is on top; "
    "of equal scores the smaller one. Overlapping truths: the smaller one on top. Instances that are hidden altogether "
    "are in no label map, but they are counted. Classes are not told apart.",
    "mean_over_images": "The metrics of label maps computed for each image by itself (per_image), then averaged.",
    "per_image": "truths, results: all instances; count: results with a score of at least count_threshold; "
    "count_error: count - truths; ap, ap50, ap75 (all detections) and the metrics of label maps are of the image by "
    "itself.",
}
"""What each key of `Report.to_dict` means, word for word as it stands in the JSON file."""


@dataclass(frozen=True)
class ImageReport:
    """The numbers of one image.

    Attributes:
        name: the image's name.
        image_id: what results call it by.
        truths: number of true instances.
        results: number of results, of any score.
        count: number of results with a score of at least the threshold for counting.
        ap: average precision at all detections, of this image by itself.
        tally: what the metrics of label maps are made from.
    """

    name: str
    image_id: ImageId
    truths: int
    results: int
    count: int
    ap: APResult
    tally: Tally

    def to_dict(self) -> dict[str, Any]:
        """Return the image's line of `per_image`."""
        return {
            "image": self.name,
            "image_id": self.image_id,
            "truths": self.truths,
            "results": self.results,
            "count": self.count,
            "count_error": self.count - self.truths,
            **_without_nan(self.ap._asdict()),
            **self.tally.metrics()._asdict(),
        }


@dataclass(frozen=True)
class Report:
    """The numbers of a set of images.

    Attributes:
        count_threshold: least score of a result that counts and is painted.
        ap: average precision at all detections.
        ap_100: average precision at 100 detections an image and class.
        ap50_100_ceiling: the best AP50 that 100 detections an image and class allow.
        images: the images, in the order of the truth.
    """

    count_threshold: float
    ap: APResult
    ap_100: APResult
    ap50_100_ceiling: float
    images: tuple[ImageReport, ...]

    @property
    def pooled(self) -> InstanceMetrics:
        """The metrics of label maps, numerators and denominators added over the images."""
        return pool(image.tally for image in self.images).metrics()

    @property
    def mean(self) -> InstanceMetrics:
        """The metrics of label maps of each image by itself, averaged."""
        return InstanceMetrics(*map(fmean, zip(*(image.tally.metrics() for image in self.images), strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for a JSON file; what is undefined is None."""
        errors = [image.count - image.truths for image in self.images]
        numbers = {
            **self.ap._asdict(),
            **{f"{key}_100": value for key, value in self.ap_100._asdict().items()},
            "ap50_100_ceiling": self.ap50_100_ceiling,
            **self.pooled._asdict(),
            "count_mae": fmean(map(abs, errors)),
            "count_bias": fmean(errors),
            "count_threshold": self.count_threshold,
        }
        return {
            **_without_nan(numbers),
            "images": len(self.images),
            "truths": sum(image.truths for image in self.images),
            "results": sum(image.results for image in self.images),
            "mean_over_images": self.mean._asdict(),
            "per_image": [image.to_dict() for image in self.images],
            "definitions": dict(DEFINITIONS),
        }


def evaluate(
    truths: Sequence[ImageTruth], results: Mapping[ImageId, ImageResults], count_threshold: float = COUNT_THRESHOLD
) -> Report:
    """Compute every metric of a set of images.

    Args:
        truths: the images with what there is to find; at least one.
        results: image id -> what was found there; an image that is not in it has no result.
        count_threshold: least score of a result that counts and is painted into label maps; average precision
            takes all.

    Raises:
        ValueError: if there is no image.
    """
    if not truths:
        raise ValueError("metrics need at least one image")
    found = [results.get(truth.image_id, ImageResults()) for truth in truths]
    of_all, of_100 = _average_precisions(truths, found, None, BOARD_LIMIT)
    return Report(
        count_threshold=count_threshold,
        ap=of_all,
        ap_100=of_100,
        ap50_100_ceiling=ceiling(
            [truth.masks for truth in truths], BOARD_LIMIT, labels=[truth.labels for truth in truths]
        ),
        images=tuple(evaluate_image(*pair, count_threshold) for pair in zip(truths, found, strict=True)),
    )


def evaluate_image(truth: ImageTruth, results: ImageResults, count_threshold: float = COUNT_THRESHOLD) -> ImageReport:
    """Compute the numbers of one image.

    Args:
        truth: what there is to find.
        results: what was found.
        count_threshold: least score of a result that counts and is painted.
    """
    shown = [index for index, score in enumerate(results.scores) if score >= count_threshold]
    table = contingency_table(
        paint(truth.masks, truth.height, truth.width),
        paint(
            [results.masks[index] for index in shown],
            truth.height,
            truth.width,
            [results.scores[index] for index in shown],
        ),
    )
    return ImageReport(
        name=truth.name,
        image_id=truth.image_id,
        truths=len(truth.masks),
        results=len(results.masks),
        count=len(shown),
        ap=_average_precisions([truth], [results], None)[0],
        tally=tally(table),
    )


def _average_precisions(
    truths: Sequence[ImageTruth], results: Sequence[ImageResults], *limits: int | None
) -> list[APResult]:
    return average_precisions(
        [truth.masks for truth in truths],
        [result.masks for result in results],
        [result.scores for result in results],
        limits=limits,
        truth_labels=[truth.labels for truth in truths],
        prediction_labels=[result.labels for result in results],
    )


def _without_nan(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Replace what is undefined by None: JSON has no NaN."""
    return {key: None if math.isnan(value) else value for key, value in numbers.items()}
