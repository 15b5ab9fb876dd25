"""Numbers of a run along its steps: read from its table, thinned and smoothed for drawing."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

MOST_POINTS = 500
"""Points of a curve that is drawn: a chart is narrower in pixels."""

SMOOTHING = 0.04
"""Share of a run's steps over which a smoothed loss is averaged."""


class Curve(NamedTuple):
    """A number along the steps of a run.

    Attributes:
        steps: (P,) float64, optimisation steps done, ascending.
        values: (P,) float64, finite.
    """

    steps: np.ndarray
    values: np.ndarray


def read_curve(rows: Sequence[Mapping[str, str]], column: str) -> Curve:
    """Read a column of `metrics.csv` or `index.csv`, without its empty, unreadable and infinite cells."""
    points = [(_number(row.get("step")), _number(row.get(column))) for row in rows]
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return Curve(*table[np.argsort(table[:, 0], kind="stable")].T)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def thin(curve: Curve, points: int = MOST_POINTS) -> Curve:
    """Return a curve of at most so many points: the least and the greatest value of each bin."""
    if len(curve.steps) <= points:
        return curve
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(curve.steps)), points // 2):
        kept |= {int(part[curve.values[part].argmin()]), int(part[curve.values[part].argmax()])}
    chosen = sorted(kept)
    return Curve(curve.steps[chosen], curve.values[chosen])


def smooth(curve: Curve, points: int = MOST_POINTS) -> Curve:
    """Return the moving average over `SMOOTHING` of the curve, centred, at evenly spread points.

    At the ends the window is cut off where the curve is.
    """
    count = len(curve.steps)
    if count == 0:
        return curve
    places = np.unique(np.linspace(0, count - 1, min(count, points)).round().astype(np.int64))
    half = int(count * SMOOTHING / 2)
    first, last = (places - half).clip(min=0), (places + half + 1).clip(max=count)
    sums = np.concatenate([[0.0], np.cumsum(curve.values)])
    means = (sums[last] - sums[first]) / (last - first)
    return Curve(curve.steps[places], means)
