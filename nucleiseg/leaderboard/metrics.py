"""Define the metrics of the leaderboard; a new one is a `MetricSpec` in `_specs`, in this file alone.

Example:
    yield MetricSpec(
        "count_rmse",
        "count RMSE",
        "Root of the mean squared count error of an image.",
        number_format=".1f",
        better="lower",
        resampled=count_rmse,  # (record, (R, images) weights) -> (R,) values
        has_threshold=True,
    )

It can then be ranked by, and appears in the CSV file and on the page. A metric that `evaluate.py` reports too is
computed in `nucleiseg.evaluation` and defined in its `definitions`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.evaluation.accumulation import ceilings, resampled_ap
from nucleiseg.evaluation.ap_report import BOARD_LIMIT
from nucleiseg.evaluation.definitions import DEFINITIONS
from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.matches import IOU_THRESHOLDS, pooled_classes
from nucleiseg.leaderboard.columns import FACTS, Better, Column
from nucleiseg.leaderboard.record import EvaluationRecord

CEILING = "ap50_100_ceiling"
"""Key of the ceiling of every AP at 100 detections: truth matches itself at any IoU, so AP50, AP75 and AP share it."""

Resampled = Callable[[EvaluationRecord, np.ndarray], np.ndarray]
"""(record, (R, images) whole numbers: how many times each image is listed, in the record's order) -> (R,) float64: the
metric of each such list; NaN where it is undefined."""


@dataclass(frozen=True)
class MetricSpec(Column):
    """A metric: its column, and how to compute and compare it.

    Attributes:
        better: which of two values is better.
        resampled: computes it for several lists of a record's images.
        has_ceiling: whether the limit of 100 detections keeps even the truth from scoring 1.
        has_threshold: whether it uses only detections with a score of at least the record's `count_threshold`.
    """

    better: Better | None = "higher"
    resampled: Resampled = field(kw_only=True)
    has_ceiling: bool = False
    has_threshold: bool = False

    @property
    def measure(self) -> str:
        """Key of what ranks: the metric, or its share of the ceiling on the same images if it has one."""
        return f"{self.key}_share" if self.has_ceiling else self.key

    @property
    def share(self) -> Column:
        """The column of its share of the ceiling."""
        definition = f"{self.key} as a share of its ceiling on the same images; over folds, the mean of the shares."
        return Column(f"{self.key}_share", f"{self.heading}, share of ceiling", definition, better="higher")

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
        """Return the values to take differences of: absolute ones if nearer zero is better."""
        return np.abs(values) if self.better == "nearer zero" else values

    def clipped(self, interval: tuple[float, float]) -> tuple[float, float]:
        """Clip an interval to the metric's range; NaN stays NaN.

        The range is 0 .. 1; errors of counts have no upper end, signed ones no lower end either.
        """
        least = -np.inf if self.better == "nearer zero" else 0.0
        most = 1.0 if self.better == "higher" else np.inf
        low, high = np.clip(interval, least, most)
        return float(low), float(high)

    def goodness(self, value: float) -> float:
        """Return a number that is higher for better values; minus infinity for an undefined one."""
        if np.isnan(value):
            return -np.inf
        size = float(self.comparable(np.array(value)))
        return size if self.better == "higher" else -size

    def is_worse(self, difference: tuple[float, float]) -> bool:
        """Return whether an interval of differences to another row (of `comparable`) lies on the worse side entirely.

        An undefined interval, or one that holds 0, does not.
        """
        low, high = difference
        return high < 0 if self.better == "higher" else low > 0


def _average_precision(
    record: EvaluationRecord, weights: np.ndarray, thresholds: Sequence[int], limit: int | None
) -> np.ndarray:
    return resampled_ap(pooled_classes([image.matches for image in record.images], limit), thresholds, weights)


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


_THRESHOLDS = {"ap": range(len(IOU_THRESHOLDS)), "ap50": (0,), "ap75": (5,)}
"""Indices of the IoU thresholds that each AP is averaged over."""

_LABEL_MAP_HEADINGS = {"aji": "AJI", "aji_plus": "AJI+", "dq": "DQ", "sq": "SQ", "pq": "PQ", "dice": "Dice", "f1": "F1"}
"""Metrics of label maps, see `evaluation.instance_metrics`."""


def _specs() -> Iterator[MetricSpec]:
    """Yield the metrics that can be ranked by, in the order of the report."""
    for limit, suffix, at in ((None, "", ""), (BOARD_LIMIT, "_100", " at 100")):
        for name, thresholds in _THRESHOLDS.items():
            key, heading = f"{name}{suffix}", f"{name.upper()}{at}"
            resampled = partial(_average_precision, thresholds=thresholds, limit=limit)
            yield MetricSpec(key, heading, DEFINITIONS[key], resampled=resampled, has_ceiling=limit is not None)
    for key, heading in _LABEL_MAP_HEADINGS.items():
        resampled = partial(_of_label_maps, key=key)
        yield MetricSpec(key, heading, DEFINITIONS[key], resampled=resampled, has_threshold=True)
    yield MetricSpec(
        "count_mae",
        "count error",
        DEFINITIONS["count_mae"],
        number_format=".1f",
        better="lower",
        resampled=partial(_count_error, absolute=True),
        has_threshold=True,
    )
    yield MetricSpec(
        "count_bias",
        "count bias",
        DEFINITIONS["count_bias"],
        number_format=".1f",
        better="nearer zero",
        resampled=partial(_count_error, absolute=False),
        has_threshold=True,
    )


METRICS = {spec.key: spec for spec in _specs()}
"""Key -> a metric that can be ranked by."""

_SHOWN_ONLY = {
    CEILING: Column(CEILING, "ceiling of AP50 at 100", DEFINITIONS[CEILING]),
    "count_threshold": Column("count_threshold", "score threshold", DEFINITIONS["count_threshold"]),
    **{
        f"box_{key}": Column(f"box_{key}", f"box {spec.heading}", DEFINITIONS[f"box_{key}"], better="higher")
        for key, spec in METRICS.items()
        if key.startswith("ap")
    },
}
"""Key -> a number of the report that can't be ranked by."""


def find_metric(rank_by: str) -> MetricSpec:
    """Return the metric of a key.

    Raises:
        InputError: naming the accepted keys.
    """
    if rank_by not in METRICS:
        raise InputError(f"rank_by is {rank_by!r}; it accepts one of {', '.join(METRICS)}.")
    return METRICS[rank_by]


def column_of(key: str) -> Column:
    """Return the column of a metric (`KEY`), its share of the ceiling (`KEY_share`) or a fact; its key if unknown.

    `KEY/NAME` is the metric of one class, `mean/KEY` the mean over classes, `agnostic/KEY` that of all as one class.
    """
    if key.endswith("_share") and key.removesuffix("_share") in METRICS:
        return METRICS[key.removesuffix("_share")].share
    first, _, second = key.partition("/")
    if second and first in METRICS:
        spec = METRICS[first]
        return Column(
            key, f"{spec.heading} of {second}", f"{spec.heading} of the class {second} alone.", better="higher"
        )
    if second in METRICS and first in ("mean", "agnostic"):
        spec, words = METRICS[second], {"mean": "mean over classes", "agnostic": "class-agnostic"}[first]
        definition = DEFINITIONS["mean_over_classes" if first == "mean" else "class_agnostic"]
        return Column(key, f"{spec.heading}, {words}", definition, better="higher")
    return METRICS.get(key) or _SHOWN_ONLY.get(key) or FACTS.get(key) or Column(key, key)
