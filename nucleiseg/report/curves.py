"""Thin and smooth a run's curves for plotting."""

import numpy as np

from nucleiseg.run_tables import Curve

MOST_POINTS = 500
"""Points of a curve that is drawn: a chart is narrower in pixels."""

SMOOTHING = 0.04
"""Share of a run's steps over which a smoothed loss is averaged."""


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
