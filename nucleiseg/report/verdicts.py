"""What became of each nucleus of an image: found, missed, false or merged."""

from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.results import ImageResults
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


def judge(truth: ImageTruth, results: ImageResults, score_threshold: float) -> Verdicts:
    """Match the predictions of an image to its nuclei, as `evaluation.thresholds.match` does; find merged ones.

    Args:
        truth: what there is to find.
        results: what was found.
        score_threshold: least score of a prediction that counts.
    """
    scores = np.asarray(results.scores, dtype=np.float64)
    order = np.argsort(-scores, kind="stable")
    shown = order[scores[order] >= score_threshold]
    found = np.zeros(len(shown), dtype=bool)
    missed = np.ones(len(truth.masks), dtype=bool)
    if not len(shown) or not len(truth.masks):
        return Verdicts(shown, found, found.copy(), missed)
    masks = [results.masks[index] for index in shown]
    # pycocotools returns (truths, predictions) in Fortran order, so that the row of a prediction lies in one piece.
    iou = coco_mask.iou(truth.masks, masks, [0] * len(masks)).T
    iou[np.asarray(results.labels)[shown][:, None] != np.asarray(truth.labels)] = 0
    for number, row in enumerate(iou):
        best = row.argmax()
        if row[best] >= IOU_THRESHOLD:
            found[number], missed[best] = True, False
            iou[:, best] = -1  # taken
    covered = coco_mask.iou(truth.masks, masks, [1] * len(masks)) > COVERED  # a "crowd": the share of the truth's area
    return Verdicts(shown, found, covered.sum(axis=0) >= 2, missed)
