"""The metrics that one can rank by, each as a function of a record and of how many times each image is listed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.evaluation.accumulation import ceilings, resampled_ap
from nucleiseg.evaluation.ap_report import BOARD_LIMIT
from nucleiseg.evaluation.instance_metrics import InstanceMetrics, Tally
from nucleiseg.evaluation.matches import IOU_THRESHOLDS, pooled_classes
from nucleiseg.leaderboard.record import EvaluationRecord

Better = Literal["higher", "lower", "nearer zero"]
"""Which of two values is the better one."""

CEILING = "ap50_100_ceiling"
"""Key of the report that holds the ceiling of every AP at 100 detections: the truth matches itself at any IoU."""


@dataclass(frozen=True)
class Metric:
    """A metric to rank by.

    Attributes:
        key: its key in `Report.to_dict`.
        resampled: (record, (R, images) whole numbers: how many times each image is listed, in the record's order)
            -> (R,) float64, the metric of each such list; NaN where it is undefined.
        better: which of two values is the better one.
        has_ceiling: whether the limit on detections keeps even the truth from scoring 1.
        has_threshold: whether only results with a score of at least the record's `count_threshold` take part.
    """

    key: str
    resampled: Callable[[EvaluationRecord, np.ndarray], np.ndarray]
    better: Better = "higher"
    has_ceiling: bool = False
    has_threshold: bool = False

    @property
    def measure(self) -> str:
        """Key of what ranks: the metric, or its share of the ceiling on the same images where it has one."""
        return f"{self.key}_share" if self.has_ceiling else self.key

    def measured(self, record: EvaluationRecord, weights: np.ndarray) -> np.ndarray:
        """Compute `measure` for several lists of the record's images.

        Args:
            record: the evaluation.
            weights: (R, images) whole numbers: how many times each image is listed.

        Returns:
            (R,) float64.
        """
        values = self.resampled(record, weights)
        return values / ceilings_of(record, weights) if self.has_ceiling else values

    def comparable(self, values: np.ndarray) -> np.ndarray:
        """Return what differences are taken of: the values, or their size if the one nearer zero is better."""
        return np.abs(values) if self.better == "nearer zero" else values

    def possible(self, ends: tuple[float, float]) -> tuple[float, float]:
        """Cut an interval to the values that the metric can have; NaN stays NaN.

        That is 0 .. 1, but an error of counts has no upper end, and a signed one no lower end either.
        """
        least = -np.inf if self.better == "nearer zero" else 0.0
        most = 1.0 if self.better == "higher" else np.inf
        low, high = np.clip(ends, least, most)
        return float(low), float(high)

    def goodness(self, value: float) -> float:
        """Return a number that is higher for the better value; lowest of all if it is undefined."""
        if np.isnan(value):
            return -np.inf
        size = float(self.comparable(np.array(value)))
        return size if self.better == "higher" else -size

    def is_worse(self, difference: tuple[float, float]) -> bool:
        """Return whether all of an interval of differences to another row, of what is comparable, is on the worse side.

        An interval that is undefined, holds 0, or lies on the better side is not.
        """
        low, high = difference
        return high < 0 if self.better == "higher" else low > 0


def find_metric(rank_by: str) -> Metric:
    """Return the metric of a key.

    Raises:
        InputError: naming the accepted keys.
    """
    if rank_by in METRICS:
        return METRICS[rank_by]
    known = "is shown but no resampling tells what chance does to it" if rank_by.startswith("box_") else "is no metric"
    raise InputError(f"rank_by={rank_by} {known}; accepted are {', '.join(METRICS)}.")


def _average_precision(
    record: EvaluationRecord, weights: np.ndarray, thresholds: Sequence[int], limit: int | None
) -> np.ndarray:
    classes = pooled_classes([image.matches for image in record.images], limit)
    return resampled_ap(classes, thresholds, weights)


def ceilings_of(record: EvaluationRecord, weights: np.ndarray) -> np.ndarray:
    """Return the (R,) ceiling of AP at 100 detections on several lists of the record's images."""
    labels = sorted({label for image in record.images for label in image.matches.truths})
    truths = [[image.matches.truths.get(label, 0) for image in record.images] for label in labels]
    return ceilings(np.array(truths).reshape(len(labels), len(record.images)), weights, BOARD_LIMIT)


def _of_label_maps(record: EvaluationRecord, weights: np.ndarray, key: str) -> np.ndarray:
    tallies = np.array([image.tally for image in record.images], dtype=np.float64)
    return np.array([getattr(Tally(*sums).metrics(), key) for sums in (weights @ tallies).tolist()])


def _count_error(record: EvaluationRecord, weights: np.ndarray, absolute: bool) -> np.ndarray:
    errors = np.array([image.count - image.truths for image in record.images], dtype=np.float64)
    return weights @ (np.abs(errors) if absolute else errors) / weights.sum(axis=1)


_EVERY = range(len(IOU_THRESHOLDS))
_THRESHOLDS: Mapping[str, Sequence[int]] = {"ap": _EVERY, "ap50": (0,), "ap75": (5,)}

METRICS: Mapping[str, Metric] = {
    metric.key: metric
    for metric in (
        *(
            Metric(key, partial(_average_precision, thresholds=thresholds, limit=None))
            for key, thresholds in _THRESHOLDS.items()
        ),
        *(
            Metric(
                f"{key}_100",
                partial(_average_precision, thresholds=thresholds, limit=BOARD_LIMIT),
                has_ceiling=True,
            )
            for key, thresholds in _THRESHOLDS.items()
        ),
        *(Metric(key, partial(_of_label_maps, key=key), has_threshold=True) for key in InstanceMetrics._fields),
        Metric("count_mae", partial(_count_error, absolute=True), "lower", has_threshold=True),
        Metric("count_bias", partial(_count_error, absolute=False), "nearer zero", has_threshold=True),
    )
}
"""Key -> metric, in the order of the report."""
