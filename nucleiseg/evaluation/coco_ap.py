"""COCO average precision of masks, with the number of detections that counted said aloud.

AP is the area under the precision-recall curve, interpolated at 101 recalls, averaged over IoU thresholds
0.50, 0.55 .. 0.95 and over the classes that have a truth (https://cocodataset.org/#detection-eval). COCO's own tool
looks at the 100 most confident detections of each image and class and says nothing of it: of 600 nuclei, 500 cannot be
found by anybody. So the limit is an argument here, and `ceiling` tells the best score that it allows.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from nucleiseg.inference.box_masks import RLE, area

MaskLists = Sequence[Sequence[RLE]]
"""For each image, the masks of its instances."""

LabelLists = Sequence[Sequence[int]]
"""For each image, the labels of its instances."""


class APResult(NamedTuple):
    """Average precision of masks, 0 .. 1; NaN where there is no truth to find.

    Attributes:
        ap: mean over IoU thresholds 0.50, 0.55 .. 0.95.
        ap50: at IoU threshold 0.50.
        ap75: at IoU threshold 0.75.
    """

    ap: float
    ap50: float
    ap75: float


def average_precision(
    truths: MaskLists,
    predictions: MaskLists,
    scores: Sequence[Sequence[float]],
    *,
    max_detections: int | None = None,
    truth_labels: LabelLists | None = None,
    prediction_labels: LabelLists | None = None,
) -> APResult:
    """Compute COCO AP, AP50 and AP75 of masks over a set of images.

    Args:
        truths: for each image, the true masks.
        predictions: for each image (same order), the predicted masks.
        scores: for each image, the confidence of each predicted mask; any order.
        max_detections: how many detections of each image and class count, the most confident first (COCO: 100);
            None counts all.
        truth_labels: for each image, the class of each true mask; None if there is one class only.
        prediction_labels: for each image, the class of each predicted mask; None if there is one class only.

    Returns:
        The three numbers. All NaN if no image has a truth (recall is undefined then); 0 if there are truths and no
        prediction.

    Raises:
        ValueError: if the lists do not fit one another.
    """
    (result,) = average_precisions(
        truths,
        predictions,
        scores,
        limits=(max_detections,),
        truth_labels=truth_labels,
        prediction_labels=prediction_labels,
    )
    return result


def average_precisions(
    truths: MaskLists,
    predictions: MaskLists,
    scores: Sequence[Sequence[float]],
    *,
    limits: Sequence[int | None],
    truth_labels: LabelLists | None = None,
    prediction_labels: LabelLists | None = None,
) -> list[APResult]:
    """Compute what `average_precision` does for several limits on detections, matching masks once.

    That gives the same numbers: the matches of the most confident detections do not depend on the others.

    Args:
        truths: for each image, the true masks.
        predictions: for each image, the predicted masks.
        scores: for each image, the confidence of each predicted mask.
        limits: for each result, how many detections of each image and class count; None counts all.
        truth_labels: for each image, the class of each true mask.
        prediction_labels: for each image, the class of each predicted mask.

    Returns:
        One result a limit, in their order.

    Raises:
        ValueError: if the lists do not fit one another.
    """
    truth_labels = truth_labels or [[1] * len(masks) for masks in truths]
    prediction_labels = prediction_labels or [[1] * len(masks) for masks in predictions]
    _check_lengths(truths, predictions, scores, truth_labels, prediction_labels)
    if not any(truths):
        return [APResult(math.nan, math.nan, math.nan)] * len(limits)
    if not any(predictions):
        return [APResult(0.0, 0.0, 0.0)] * len(limits)
    most = max(len(masks) for masks in predictions)
    numbers = [limit or most for limit in limits]
    categories = sorted({label for labels in truth_labels for label in labels})
    engine = COCOeval_faster(
        _dataset(truths, truth_labels, categories),
        _dataset(predictions, prediction_labels, categories, scores),
        iouType="segm",
        print_function=_silent,
    )
    engine.params.maxDets = sorted(set(numbers))
    engine.params.areaRng, engine.params.areaRngLbl = [[0, 1e10]], ["all"]
    engine.evaluate()
    engine.accumulate()
    precision = np.asarray(engine.eval["precision"])[:, :, :, 0]  # IoU thresholds x recalls x classes x limits
    return [_means(precision[..., engine.params.maxDets.index(number)]) for number in numbers]


def _means(precision: np.ndarray) -> APResult:
    """Average the (IoU thresholds, recalls, classes) precision of one limit."""
    return APResult(float(precision.mean()), float(precision[0].mean()), float(precision[5].mean()))


def ceiling(truths: MaskLists, max_detections: int = 100, *, labels: LabelLists | None = None) -> float:
    """Return the AP50 that the truth itself would get: the best score that the limit allows on these images.

    Args:
        truths: for each image, the true masks.
        max_detections: how many detections of each image and class count.
        labels: for each image, the class of each true mask; None if there is one class only.

    Returns:
        AP50, 0 .. 1; NaN if no image has a truth.
    """
    scores = [[1.0] * len(masks) for masks in truths]
    result = average_precision(
        truths, truths, scores, max_detections=max_detections, truth_labels=labels, prediction_labels=labels
    )
    return result.ap50


def _check_lengths(
    truths: MaskLists,
    predictions: MaskLists,
    scores: Sequence[Sequence[float]],
    truth_labels: LabelLists,
    prediction_labels: LabelLists,
) -> None:
    columns = (truths, predictions, scores, truth_labels, prediction_labels)
    if len({len(column) for column in columns}) != 1:
        raise ValueError(f"truths, predictions, scores and labels are of {[len(c) for c in columns]} images")
    for index, (true, found, score, true_label, label) in enumerate(zip(*columns, strict=True)):
        if len(true) != len(true_label) or not len(found) == len(score) == len(label):
            raise ValueError(
                f"image {index}: {len(true)} truths with {len(true_label)} labels, "
                f"{len(found)} predictions with {len(score)} scores and {len(label)} labels"
            )


def _dataset(
    masks: MaskLists,
    labels: LabelLists,
    categories: list[int],
    scores: Sequence[Sequence[float]] | None = None,
) -> COCO:
    """Build the engine's data set; predictions (those with scores) of classes without a truth are left out."""
    images: list[dict[str, int]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, image_masks in enumerate(masks, 1):
        images.append({"id": image_id, "height": 0, "width": 0})
        for index, pixels in enumerate(area(list(image_masks)).tolist()):
            annotation = {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": int(labels[image_id - 1][index]),
                "segmentation": image_masks[index],
                "area": pixels,
                "iscrowd": 0,
            }
            if scores is not None:
                annotation["score"] = float(scores[image_id - 1][index])
            annotations.append(annotation)
    return COCO(
        {"images": images, "annotations": annotations, "categories": [{"id": i, "name": str(i)} for i in categories]},
        print_function=_silent,
    )


def _silent(*_: object) -> None:
    """Take the engine's progress lines and keep them off the terminal."""
