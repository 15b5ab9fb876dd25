"""COCO's greedy matching of one image, kept, so that AP of any resample of images is an accumulation only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nucleiseg.evaluation.coco_ap import APResult
from nucleiseg.evaluation.results import ImageResults
from nucleiseg.evaluation.truth import ImageTruth


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """Which detections of one image found a truth, at each of COCO's IoU thresholds 0.50, 0.55 .. 0.95.

    Attributes:
        scores: (D,) float64 confidences in descending order; detections of equal score keep theirs.
        labels: (D,) int64 classes.
        ranks: (D,) int64 place of each detection among those of its class in the image, counted from 0: those below
            100 are what COCO's maxDets = 100 looks at.
        true_positive: (10, D) bool, whether each detection has found a truth at each IoU threshold.
        truths: label -> number of truths.
    """

    scores: np.ndarray
    labels: np.ndarray
    ranks: np.ndarray
    true_positive: np.ndarray
    truths: Mapping[int, int]


def match_image(truth: ImageTruth, results: ImageResults) -> ImageMatches:
    """Match the detections of one image with its truth."""
    raise NotImplementedError


def pooled_ap(images: Sequence[ImageMatches], weights: np.ndarray | None = None, limit: int | None = None) -> APResult:
    """Compute COCO AP, AP50 and AP75 over images whose detections are matched."""
    raise NotImplementedError
