"""Count the pixels that each truth shares with each prediction, from which every label-map metric is computed.

Hundreds of nuclei overlap a handful of others each, so the table holds the pairs that share a pixel and no others:

    truth    prediction        truth  prediction  pixels        areas of truth       1: 4, 2: 2
    1 1 0 2    7 7 0 0           1        7          2          areas of prediction  7: 2, 9: 1
    1 1 0 2    0 0 0 9           2        9          1

Neighboring pixels mostly hold the same pair, so pairs are counted by their runs: linear in the number of pixels, with
a sort of the few per cent of them at which a nucleus begins or ends.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ContingencyTable:
    """Shared pixels of the instances of two label maps. Instances are numbered from 0 in ascending label.

    Attributes:
        truth_areas: (N,) int64 pixels of each truth.
        prediction_areas: (M,) int64 pixels of each prediction.
        truth: (K,) int64, the truth of each pair that shares a pixel, in ascending order.
        prediction: (K,) int64, the prediction of each pair, ascending within a truth.
        shared: (K,) int64 pixels that the pair shares, at least 1.
    """

    truth_areas: np.ndarray
    prediction_areas: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    shared: np.ndarray

    @property
    def united(self) -> np.ndarray:
        """(K,) int64 pixels that belong to either of the pair."""
        return self.truth_areas[self.truth] + self.prediction_areas[self.prediction] - self.shared

    @property
    def iou(self) -> np.ndarray:
        """(K,) float64 intersection over union of each pair, 0 < IoU <= 1."""
        return self.shared / self.united


def contingency_table(truth: np.ndarray, prediction: np.ndarray) -> ContingencyTable:
    """Count the pixels that the instances of two label maps share.

    Args:
        truth: (H, W) integer label map; 0 is background, labels need not be consecutive.
        prediction: (H, W) integer label map of the same image.

    Raises:
        ValueError: if the shapes differ or a label is negative.

    Examples:
        >>> table = contingency_table(np.array([[1, 1, 0, 2]]), np.array([[7, 7, 7, 0]]))
        >>> table.truth.tolist(), table.prediction.tolist(), table.shared.tolist(), table.iou.round(3).tolist()
        ([0], [0], [2], [0.667])
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"the truth is {truth.shape}, the prediction {prediction.shape}")
    true, found = truth.ravel(order="F"), prediction.ravel(order="F")  # `label_maps.paint` is column-major
    borders = (true[1:] != true[:-1]) | (found[1:] != found[:-1])
    starts = np.concatenate([[0], np.flatnonzero(borders) + 1])[: true.size]
    lengths = np.diff(starts, append=true.size)
    true_labels, true_index = _number(true[starts])
    found_labels, found_index = _number(found[starts])
    pairs, run_pair = np.unique(true_index * len(found_labels) + found_index, return_inverse=True)
    pixels = np.bincount(run_pair, lengths, minlength=len(pairs)).astype(np.int64)
    true_of, found_of = np.divmod(pairs, len(found_labels))
    both = (true_of > 0) & (found_of > 0)
    return ContingencyTable(
        truth_areas=np.bincount(true_of, pixels, minlength=len(true_labels)).astype(np.int64)[1:],
        prediction_areas=np.bincount(found_of, pixels, minlength=len(found_labels)).astype(np.int64)[1:],
        truth=true_of[both] - 1,
        prediction=found_of[both] - 1,
        shared=pixels[both],
    )


def _number(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct labels, background first whether it occurs or not, and the index of each label in them."""
    distinct, index = np.unique(np.concatenate([np.zeros(1, labels.dtype), labels]), return_inverse=True)
    if distinct[0] < 0:
        raise ValueError(f"label {distinct[0]} is negative; labels are whole numbers from 0, the background")
    return distinct, index[1:]
