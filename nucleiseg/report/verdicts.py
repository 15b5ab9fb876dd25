"""What became of each nucleus of an image: found, missed, false or merged."""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.greedy import match_greedily
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.truth import ImageTruth

IOU_THRESHOLD = 0.5
"""Least IoU of a prediction with the nucleus that it finds."""

COVERED = 0.5
"""A prediction covers a nucleus if it holds more than this share of its area."""


@dataclass(frozen=True)
class Verdicts:
    """The verdict on each true nucleus and on each prediction that counts.

    Attributes:
        shown: (K,) int64, the results with a score of at least the threshold, in descending score.
        found: (K,) bool, those that match a nucleus which no more confident one had taken; the others are false.
        merged: (K,) bool, those that cover two or more nuclei, whether found or false.
        missed: (N,) bool, true nuclei without a match.
    """

    shown: np.ndarray
    found: np.ndarray
    merged: np.ndarray
    missed: np.ndarray

    @property
    def f1(self) -> float:
        """2 TP / (predictions + truths); 1 where there is neither."""
        total = len(self.found) + len(self.missed)
        return 2 * int(self.found.sum()) / total if total else 1.0


def judge(truth: ImageTruth, results: Instances, score_threshold: float) -> Verdicts:
    """Match the predictions of an image to its nuclei, as the choice of the threshold does; find merged ones.

    Args:
        truth: what there is to find.
        results: what was found.
        score_threshold: least score of a prediction that counts.
    """
    scores = np.asarray(results.scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    shown = order[scores[order] >= score_threshold]
    masks = [results.masks[index] for index in shown]
    labels = np.asarray(results.labels)[shown]
    matches = match_greedily(truth.masks, masks, truth.labels, labels, [IOU_THRESHOLD])
    found, missed = matches.true_positive[0], ~matches.found[0]
    if not masks or not truth.masks:
        return Verdicts(shown, found, np.zeros_like(found), missed)
    covered = coco_mask.iou(truth.masks, masks, [1] * len(masks)) > COVERED  # a "crowd": the share of the truth's area
    return Verdicts(shown, found, covered.sum(axis=0) >= 2, missed)
