"""The score threshold that counts, label images and overlays use: the one with the best F1 on validation images.

AP ranks detections and needs no threshold; a count needs one. Detections are matched to the truth as COCO does
(`evaluation.greedy`), at an IoU of at least 0.5. A detection never changes the matches of more confident ones, so one
pass gives the true positives at every threshold.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nucleiseg.evaluation.coco_ap import LabelLists, MaskLists
from nucleiseg.evaluation.greedy import match_greedily
from nucleiseg.rle import RLE


class ThresholdChoice(NamedTuple):
    """A score threshold and what it achieves.

    Attributes:
        threshold: detections with a score of at least this are kept; None if there was nothing to choose by (no
            truth, or no detection that matches one).
        f1: 2 TP / (2 TP + FP + FN), pooled over all images, at this threshold; NaN if there is no truth.
    """

    threshold: float | None
    f1: float


def choose_threshold(
    truths: MaskLists,
    predictions: MaskLists,
    scores: Sequence[Sequence[float]],
    *,
    iou_threshold: float = 0.5,
    truth_labels: LabelLists | None = None,
    prediction_labels: LabelLists | None = None,
) -> ThresholdChoice:
    """Choose the score threshold that maximises F1 of mask matching, pooled over the images.

    Args:
        truths: for each image, the true masks.
        predictions: for each image (same order), the predicted masks.
        scores: for each image, the confidence of each predicted mask; any order.
        iou_threshold: least IoU of a match.
        truth_labels: for each image, the class of each true mask; None if there is one class only.
        prediction_labels: for each image, the class of each predicted mask; None if there is one class only.

    Returns:
        The threshold, half-way between the lowest score kept and the next one below, and its F1. Of several
        thresholds with the same F1 the highest wins.
    """
    truth_labels = truth_labels or [[1] * len(masks) for masks in truths]
    prediction_labels = prediction_labels or [[1] * len(masks) for masks in predictions]
    columns = zip(truths, predictions, scores, truth_labels, prediction_labels, strict=True)
    matched = [match(*column, iou_threshold=iou_threshold) for column in columns]
    total = sum(len(masks) for masks in truths)
    if total == 0:
        return ThresholdChoice(None, math.nan)
    flat_scores = np.concatenate([np.zeros(0), *[np.asarray(values, dtype=np.float64) for values in scores]])
    order = np.argsort(-flat_scores, kind="stable")
    true_positives = np.cumsum(np.concatenate([np.zeros(0, dtype=bool), *matched])[order])
    return _best(flat_scores[order], true_positives, total)


def match(
    truths: Sequence[RLE],
    predictions: Sequence[RLE],
    scores: Sequence[float],
    truth_labels: Sequence[int],
    prediction_labels: Sequence[int],
    iou_threshold: float = 0.5,
) -> np.ndarray:
    """Match the detections of one image to its truth, greedily in descending score.

    Args:
        truths: N true masks.
        predictions: M predicted masks.
        scores: M confidences; ties keep their order.
        truth_labels: N classes.
        prediction_labels: M classes.
        iou_threshold: least IoU of a match.

    Returns:
        (M,) bool: which predictions found a truth that no more confident one had taken.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    masks, labels = [predictions[index] for index in order], np.asarray(prediction_labels)[order]
    matched = np.zeros(len(predictions), dtype=bool)
    matched[order] = match_greedily(truths, masks, truth_labels, labels, [iou_threshold]).true_positive[0]
    return matched


def _best(scores: np.ndarray, true_positives: np.ndarray, total: int) -> ThresholdChoice:
    """Return the best threshold.

    Args:
        scores: (M,) in descending order.
        true_positives: (M,) number of matches among the first 1 .. M detections.
        total: number of truths.
    """
    cuts = np.flatnonzero(np.append(scores[:-1] > scores[1:], True)) if len(scores) else np.zeros(0, dtype=int)
    f1 = 2 * true_positives[cuts] / (cuts + 1 + total)  # 2 TP / (detections + truths)
    if not f1.any():
        return ThresholdChoice(None, 0.0)
    cut = cuts[f1.argmax()]
    below = scores[cut + 1] if cut + 1 < len(scores) else scores[cut]
    return ThresholdChoice(float((scores[cut] + below) / 2), float(f1.max()))
