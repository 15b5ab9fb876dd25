"""COCO mask AP with an explicit limit on detections per image (COCO's default is a silent 100).

AP is the area under the precision-recall curve, interpolated at 101 recalls, averaged over IoU thresholds
0.50, 0.55 .. 0.95 and over the classes that have a truth (https://cocodataset.org/#detection-eval). COCO's own tool
evaluates the 100 most confident detections of each image and class: of 600 nuclei, 500 cannot be found. So the limit is
an argument here, and `ceiling` computes the best score that it allows.
"""

from collections.abc import Sequence

from nucleiseg.evaluation.engine import APResult, Matching
from nucleiseg.evaluation.instances import Instances
from nucleiseg.rle import RLE

MaskLists = Sequence[Sequence[RLE]]
"""For each image, the masks of its instances."""

LabelLists = Sequence[Sequence[int]]
"""For each image, the labels of its instances."""


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

    Examples:
        >>> import numpy as np
        >>> from nucleiseg.rle import Crop, compress, run_lengths
        >>> def square(column): return run_lengths(Crop(0, column, np.ones((4, 4), bool)), height=8, width=16)
        >>> left, right = compress([square(0), square(8)], height=8, width=16)
        >>> average_precision([[left, right]], [[left, right]], [[0.9, 0.8]]).ap
        1.0
        >>> round(average_precision([[left, right]], [[left]], [[0.9]]).ap50, 3)  # recall 0.5: 51 of 101 points
        0.505
        >>> limited = average_precision([[left, right]], [[left, right]], [[0.9, 0.8]], max_detections=1)
        >>> limited.ap50 == ceiling([[left, right]], 1)
        True
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
    matching = Matching(
        [Instances(list(masks), [], list(labels)) for masks, labels in zip(truths, truth_labels, strict=True)],
        [
            Instances(list(masks), list(confidences), list(labels))
            for masks, confidences, labels in zip(predictions, scores, prediction_labels, strict=True)
        ],
        limits=limits,
    )
    precision = matching.pooled()
    return [precision.result(limit) for limit in limits]


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
