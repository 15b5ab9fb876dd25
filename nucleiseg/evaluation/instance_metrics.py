"""AJI, AJI+, DQ, SQ, PQ, F1 and Dice of label maps: sums over an image, added over images, divided at the end.

T is a truth, P a prediction, |.| a number of pixels; both label maps are free of overlap.

- DQ, SQ, PQ (Kirillov et al. 2019, "Panoptic segmentation"; the names are HoVer-Net's, Graham et al. 2019): T and P
  match if their IoU is above 0.5, which at most one P can reach for a T and one T for a P. TP is the number of matches,
  FP and FN of predictions and truths without one. DQ = 2 TP / (2 TP + FP + FN), SQ = mean IoU of the matches,
  PQ = DQ * SQ.
- F1 at IoU 0.5 is DQ by another name.
- AJI (Kumar et al. 2017, "A dataset and a technique for generalized nuclear segmentation", algorithm 1): each T takes
  the P of the best IoU, whether another T has it too or not. AJI = sum of |T and P| / (sum of |T or P| + |T| of the T
  that no P touches + |P| of the P that no T took).
- AJI+ (Graham et al. 2019): the same ratio, but each T takes one P at most and each P serves one T at most, in the
  matching with the largest sum of IoU.
- Dice of the foreground, all instances as one: 2 |T and P| / (|T| + |P|).

Where both sides are empty, truth and prediction agree and every metric is 1; where only one side is empty,
every metric is 0. SQ without a match is 0 unless both sides are empty.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from nucleiseg.evaluation.contingency import ContingencyTable

MATCH_IOU = 0.5
"""A pair with an IoU above this is a match (Kirillov et al. 2019, section 4.1: no other pair can then share either)."""


class InstanceMetrics(NamedTuple):
    """The metrics of the module's docstring, each 0 .. 1, of one image or of several pooled."""

    aji: float
    aji_plus: float
    dq: float
    sq: float
    pq: float
    dice: float
    f1: float


class Tally(NamedTuple):
    """The sums that the metrics are ratios of. Tallies of images are added to pool them.

    Attributes:
        matches: TP, pairs with an IoU above 0.5.
        truths: TP + FN.
        predictions: TP + FP.
        matched_iou: sum of the IoU of the matches.
        aji_shared, aji_united: numerator and denominator of AJI, in pixels.
        aji_plus_shared, aji_plus_united: the same of AJI+.
        foreground_shared: pixels that are foreground in both label maps.
        foreground: foreground pixels of the truth plus those of the prediction.
    """

    matches: int = 0
    truths: int = 0
    predictions: int = 0
    matched_iou: float = 0.0
    aji_shared: int = 0
    aji_united: int = 0
    aji_plus_shared: int = 0
    aji_plus_united: int = 0
    foreground_shared: int = 0
    foreground: int = 0

    def metrics(self) -> InstanceMetrics:
        """Divide."""
        quality = _ratio(2 * self.matches, self.truths + self.predictions)
        segmentation = self.matched_iou / self.matches if self.matches else _ratio(0, self.truths + self.predictions)
        return InstanceMetrics(
            aji=_ratio(self.aji_shared, self.aji_united),
            aji_plus=_ratio(self.aji_plus_shared, self.aji_plus_united),
            dq=quality,
            sq=segmentation,
            pq=quality * segmentation,
            dice=_ratio(2 * self.foreground_shared, self.foreground),
            f1=quality,
        )


def tally(table: ContingencyTable) -> Tally:
    """Take the sums of one image.

    Args:
        table: the contingency table of its two label maps.

    Examples:
        >>> import numpy as np
        >>> from nucleiseg.evaluation.contingency import contingency_table
        >>> truth = np.array([[1, 1, 1, 0, 2]])
        >>> prediction = np.array([[7, 7, 7, 7, 0]])  # one match with an IoU of 3/4, one missed nucleus
        >>> metrics = tally(contingency_table(truth, prediction)).metrics()
        >>> metrics.sq, round(metrics.dq, 3), round(metrics.pq, 3)
        (0.75, 0.667, 0.5)
    """
    matched = table.iou > MATCH_IOU
    reused = best_predictions(table)
    single = best_matching(table)
    return Tally(
        matches=int(matched.sum()),
        truths=len(table.truth_areas),
        predictions=len(table.prediction_areas),
        matched_iou=float(table.iou[matched].sum()),
        aji_shared=int(table.shared[reused].sum()),
        aji_united=_united(table, reused),
        aji_plus_shared=int(table.shared[single].sum()),
        aji_plus_united=_united(table, single),
        foreground_shared=int(table.shared.sum()),
        foreground=int(table.truth_areas.sum() + table.prediction_areas.sum()),
    )


def pool(tallies: Iterable[Tally]) -> Tally:
    """Add the sums of several images."""
    columns = list(zip(*tallies, strict=True))
    return Tally(*map(sum, columns))


def best_predictions(table: ContingencyTable) -> np.ndarray:
    """Return the pair of each truth with its best prediction; a prediction may be the best of several truths.

    Args:
        table: the contingency table.

    Returns:
        (k,) int64 indices into the table's pairs, one for each truth that shares a pixel with a prediction. Of several
        predictions with the same IoU the one with the lowest label is taken.
    """
    by_iou = np.lexsort((table.prediction, -table.iou, table.truth))
    truths = table.truth[by_iou]
    return by_iou[np.diff(truths, prepend=-1) > 0]


def best_matching(table: ContingencyTable) -> np.ndarray:
    """Return the pairs of the one-to-one matching with the largest sum of IoU.

    Args:
        table: the contingency table.

    Returns:
        (k,) int64 indices into the table's pairs. Where several matchings have that sum, one of them, always the same.
    """
    count, others = len(table.truth_areas), len(table.prediction_areas)
    if not len(table.truth):
        return np.zeros(0, np.int64)
    # The solver matches every truth, so each gets a partner of its own that stands for "none"; and as it takes a weight
    # of 0 for "no edge", all weights are one higher, which adds the same to the sum of each such matching.
    none = np.arange(count)
    rows = np.concatenate([table.truth, none])
    columns = np.concatenate([table.prediction, others + none])
    weights = np.concatenate([table.iou + 1, np.ones(count)])
    graph = csr_array((weights, (rows, columns)), shape=(count, others + count))
    truths, partners = min_weight_full_bipartite_matching(graph, maximize=True)
    real = partners < others
    chosen = truths[real].astype(np.int64) * others + partners[real]
    return np.searchsorted(table.truth * others + table.prediction, np.sort(chosen))  # pairs are in this order


def _united(table: ContingencyTable, pairs: np.ndarray) -> int:
    """Return the union of the chosen pairs in pixels, plus the areas of all instances that are in none of them."""
    truth_left, prediction_left = table.truth_areas.copy(), table.prediction_areas.copy()
    truth_left[table.truth[pairs]] = 0
    prediction_left[table.prediction[pairs]] = 0
    return int(table.united[pairs].sum() + truth_left.sum() + prediction_left.sum())


def _ratio(part: float, whole: float) -> float:
    """Return part / whole; 1 where both sides are empty."""
    return part / whole if whole else 1.0
