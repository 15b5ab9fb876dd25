"""The score threshold of counts, label images and overlays: the one with the best F1 on validation images.

AP ranks detections and needs no threshold; a count needs one. Detections are matched to the truth as COCO does
(`evaluation.greedy`), at an IoU of at least 0.5. A detection never changes the matches of more confident ones, so one
pass gives the true positives at every threshold. Detections in crowd regions are neither true nor false, as in AP.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nucleiseg.evaluation.greedy import match_greedily
from nucleiseg.evaluation.instances import Instances


class ThresholdChoice(NamedTuple):
    """A score threshold and its F1.

    Attributes:
        threshold: detections with a score of at least this are kept; None without a truth, or without a detection
            that matches one.
        f1: 2 TP / (2 TP + FP + FN), pooled over all images, at this threshold; NaN without a truth.
    """

    threshold: float | None
    f1: float


class ScoredMatches(NamedTuple):
    """The detections of one image after matching, in the order in which they were given.

    Attributes:
        true_positive: (M,) bool, detections that match a truth which no more confident one had taken.
        ignored: (M,) bool, detections that match none and lie in a crowd region of their class.
    """

    true_positive: np.ndarray
    ignored: np.ndarray


def choose_threshold(
    truths: Sequence[Instances], detections: Sequence[Instances], *, iou_threshold: float = 0.5
) -> ThresholdChoice:
    """Choose the score threshold that maximizes F1 of mask matching, pooled over the images.

    Args:
        truths: the true instances of each image, with its crowd regions.
        detections: those detected in each image, in the same order.
        iou_threshold: least IoU of a match.

    Returns:
        The threshold, half-way between the lowest score kept and the next one below, and its F1. Of several
        thresholds with the same F1 the highest wins.
    """
    total = sum(len(truth.masks) for truth in truths)
    if total == 0:
        return ThresholdChoice(None, math.nan)
    matched = [match(*pair, iou_threshold=iou_threshold) for pair in zip(truths, detections, strict=True)]
    counted = ~np.concatenate([image.ignored for image in matched])
    scores = np.concatenate([np.asarray(image.scores, dtype=np.float64) for image in detections])[counted]
    order = np.argsort(-scores, kind="stable")
    true_positives = np.cumsum(np.concatenate([image.true_positive for image in matched])[counted][order])
    return _best(scores[order], true_positives, total)


def match(truth: Instances, detections: Instances, *, iou_threshold: float = 0.5) -> ScoredMatches:
    """Match the detections of one image to its truth, greedily in descending score; ties keep their order.

    Args:
        truth: the true instances of the image.
        detections: those detected in it.
        iou_threshold: least IoU of a match, and least share in a crowd region of a detection that is ignored.
    """
    order = np.argsort(-np.asarray(detections.scores, dtype=np.float64), kind="stable")
    masks = [detections.masks[index] for index in order]
    labels = np.asarray(detections.labels, dtype=np.int64)[order]
    matches = match_greedily(truth.masks, masks, truth.labels, labels, [iou_threshold], truth.crowd)
    restore = np.argsort(order)
    return ScoredMatches(matches.true_positive[0][restore], matches.ignored[0][restore])


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
