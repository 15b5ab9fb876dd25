"""Compute AP for many weightings of the same images at once, for the bootstrap.

COCO puts the detections of all images in one list by score and reads precision at 101 recalls (`COCOeval.accumulate`
of pycocotools). Weighting an image by w lists it w times. The order of the detections is the same for every weighting,
so it is found once; and precision falls between true positives, so it is computed at these alone: cumulative counts
are one matrix product, (weightings x images) by (images x true positives).

Copies of a detection stand beside each other here. That gives what listing the image w times gives, but where several
detections of one image and class have exactly the same score: COCO's tools then take them in turns, copy by copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RECALLS = np.linspace(0.0, 1.0, 101)
"""Recalls at which COCO reads precision, rounded as in pycocotools."""

MOST_NUMBERS = 2_000_000
"""Numbers of one array (16 MB), whatever the number of weightings: they are taken in parts."""


@dataclass(frozen=True, eq=False)
class PooledClass:
    """The detections of one class in all images, as one list.

    Attributes:
        image: (D,) int64 number of the image that each detection is of, in descending score.
        true_positive: (10, D) bool, whether each has found a truth at IoU threshold 0.50, 0.55 .. 0.95.
        truths: (images,) int64 number of truths of the class in each image.
        ignored: (10, D) bool, whether each counts as neither true nor false, since it lies in a crowd region.
    """

    image: np.ndarray
    true_positive: np.ndarray
    truths: np.ndarray
    ignored: np.ndarray

    def average_precision(self, threshold: int, weights: np.ndarray) -> np.ndarray:
        """Compute AP at one IoU threshold for several weightings of the images.

        Args:
            threshold: index of the IoU threshold, 0 .. 9.
            weights: (R, images) float64 of whole numbers: how many times each image is listed.

        Returns:
            (R,) float64; NaN where no image with a weight has a truth of the class.
        """
        places = np.flatnonzero(self.true_positive[threshold])
        true, found = self._counts(places, places), self._counts(np.flatnonzero(~self.ignored[threshold]), places)
        part = max(1, MOST_NUMBERS // (len(places) + 1))
        parts = [weights[start : start + part] for start in range(0, len(weights), part)]
        results = [_average_precision(rows @ true, rows @ found, rows @ self.truths) for rows in parts]
        return np.concatenate([np.zeros(0), *results])

    def _counts(self, detections: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Count, for each image, the chosen detections up to each place.

        Args:
            detections: ascending places of the detections to count.
            places: (K,) places in the list.

        Returns:
            (images, K) float64.
        """
        image = self.image[detections]
        counts = [np.searchsorted(detections[image == i], places, side="right") for i in range(len(self.truths))]
        return np.array(counts, dtype=np.float64).reshape(len(self.truths), len(places))


def ceilings(truths: np.ndarray, weights: np.ndarray, limit: int) -> np.ndarray:
    """Compute the AP that the truth itself gets, with a score of 1 for each, if only `limit` detections count.

    A truth matches itself at every IoU threshold, so the first `limit` truths of each image and class are found, none
    is false, and precision is 1 up to the recall that they make.

    Args:
        truths: (classes, images) number of truths.
        weights: (R, images) whole numbers: how many times each image is listed.
        limit: how many detections of each image and class count.

    Returns:
        (R,) float64, the same for all IoU thresholds; NaN where no image with a weight has a truth.
    """
    known = weights @ truths.T
    needed = _least_counts(known)
    reached = (needed <= (weights @ np.minimum(truths, limit).T)[..., None]).mean(axis=-1)
    return mean_over_classes(np.where(known > 0, reached, np.nan).T)


def mean_over_classes(values: np.ndarray) -> np.ndarray:
    """Average (classes, R) values over the classes that have one; NaN where none has."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _average_precision(true: np.ndarray, found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Average the interpolated precision over the recalls.

    Args:
        true: (R, K) cumulative weight of the true positives at each true positive.
        found: (R, K) cumulative weight of all detections there.
        known: (R,) weight of the truths.

    Returns:
        (R,) AP; NaN where there is no truth.
    """
    precision = true / np.maximum(found, 1)
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    read = np.zeros((len(true), len(RECALLS)))
    for row, needed in enumerate(_least_counts(known)):
        place = np.searchsorted(true[row], needed)
        reached = place < true.shape[1]
        read[row, reached] = best_from_here[row, place[reached]]
    return np.where(known > 0, read.mean(axis=1), np.nan)


def _least_counts(known: np.ndarray) -> np.ndarray:
    """Return the (..., 101) least number of true positives whose recall, rounded as in COCO, reaches each of RECALLS.

    Args:
        known: (...) number of truths, whole numbers.
    """
    total = np.maximum(known, 1)[..., None]
    least = np.ceil(RECALLS * total)
    least = np.where((least - 1) / total >= RECALLS, least - 1, least)
    return np.where(least / total < RECALLS, least + 1, least)


def resampled_ap(classes: Sequence[PooledClass], thresholds: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Average AP over classes that have a truth, then over IoU thresholds.

    Args:
        classes: the classes.
        thresholds: indices of the IoU thresholds.
        weights: (R, images) whole numbers: how many times each image is listed.

    Returns:
        (R,) float64; NaN where no image with a weight has a truth.
    """
    counts = np.asarray(weights, dtype=np.float64)
    nothing = np.zeros((0, len(counts)))
    of_thresholds = [
        mean_over_classes(np.array([pooled.average_precision(index, counts) for pooled in classes] or nothing))
        for index in thresholds
    ]
    return np.mean(of_thresholds, axis=0)
