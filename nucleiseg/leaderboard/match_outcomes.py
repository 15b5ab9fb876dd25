"""Classify each nucleus and prediction of an image: found, missed, false or merged."""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.greedy import match_greedily
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.truth import ImageTruth

IOU_THRESHOLD = 0.5
"""Least IoU of a prediction with the nucleus that it matches."""

COVERED = 0.5
"""A prediction covers a nucleus if it holds more than this share of the nucleus's area."""


@dataclass(frozen=True)
class MatchOutcomes:
    """The outcome for each true nucleus and for each prediction above the score threshold.

    Predictions that match no nucleus but lie in a crowd region (COCO's `iscrowd`: nuclei that are not annotated one by
    one) are ignored, as in AP: neither found nor false, and without an effect on F1. Crowd regions are not among the
    nuclei, so they are never missed.

    Attributes:
        shown: (K,) int64, indices of the results with a score of at least the threshold, in descending score.
        found: (K,) bool, those that match a nucleus not matched by a more confident one.
        ignored: (K,) bool, those that match none but lie in a crowd region.
        merged: (K,) bool, those that cover two or more nuclei, whether found, false or ignored.
        missed: (N,) bool, true nuclei without a match.
    """

    shown: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    merged: np.ndarray
    missed: np.ndarray

    @property
    def false(self) -> np.ndarray:
        """(K,) bool, the predictions that are neither found nor ignored."""
        return ~self.found & ~self.ignored

    @property
    def errors(self) -> int:
        """Number of missed nuclei and false predictions."""
        return int(self.missed.sum()) + int(self.false.sum())

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 1 if there is neither nucleus nor prediction."""
        found = int(self.found.sum())
        total = 2 * found + self.errors
        return 2 * found / total if total else 1.0


def classify_matches(truth: ImageTruth, results: Instances, score_threshold: float) -> MatchOutcomes:
    """Match the predictions of an image to its nuclei at IoU 0.5, as metrics do, and find merged ones.

    Args:
        truth: the true instances and crowd regions.
        results: the predictions.
        score_threshold: least score of a prediction that is considered.
    """
    scores = np.asarray(results.scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    shown = order[scores[order] >= score_threshold]  # greedy matching takes detections in descending score
    masks = [results.masks[index] for index in shown]
    labels = np.asarray(results.labels)[shown]
    matches = match_greedily(truth.masks, masks, truth.labels, labels, [IOU_THRESHOLD], truth.crowd)
    found, ignored, missed = matches.true_positive[0], matches.ignored[0], ~matches.found[0]
    merged = np.zeros_like(found)
    if masks and truth.masks:
        # pycocotools' IoU with a "crowd" divides by the area of the first mask: the share of each truth that is covered
        covered = coco_mask.iou(truth.masks, masks, [1] * len(masks)) > COVERED
        merged = covered.sum(axis=0) >= 2
    return MatchOutcomes(shown, found, ignored, merged, missed)
