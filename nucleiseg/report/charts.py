"""Plot the report's figures with matplotlib in colors for white paper, which the page replaces by variables."""

from collections.abc import Iterable, Sequence
from itertools import product

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nucleiseg.leaderboard.board import Row, Table
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.report.preview_figures import BLUE, GREEN, ORANGE, VERMILLION
from nucleiseg.report.themed_svg import CHECKPOINT
from nucleiseg.run_tables import Curve

SKY, PURPLE = "#56B4E9", "#CC79A7"
"""The other two colors of Okabe and Ito (2008) besides those of `preview_figures`."""

GRID = "0.9"

LINES = [
    (color, style) for style, color in product(("-", "--", ":", "-."), (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY))
]
"""Color and line style of the first 24 series, then repeated."""

SIZE = (4.3, 2.9)
"""Width and height of a chart in inches: its text is readable at the width of a phone."""

APART, MOST_APART = 0.012, 0.06
"""Offset between two settings in the ranking's chart, and between the outermost, as shares of the range of steps."""

LEGEND_ROW = 0.17
"""Height of a line of the legend below a chart, in inches."""

MOST_POINTS = 500
"""Most points of a plotted curve: more than the pixels across a chart."""

SMOOTHING = 0.04
"""Share of a run's steps over which a smoothed loss is averaged."""

Series = Sequence[tuple[str, Curve]]
"""Names with their curves; their order determines the colors. A curve may be empty."""


def line_of(number: int) -> tuple[str, str]:
    """Return the color and line style of a series; they are numbered from 0."""
    return LINES[number % len(LINES)]


def draw_curves(
    series: Series,
    label: str,
    *,
    checkpoints: Iterable[float] = (),
    smoothed: bool = False,
    markers: bool = False,
    legend: bool = True,
) -> Figure:
    """Plot a number against the steps of several runs.

    Args:
        series: the runs.
        label: name of the number, with its unit.
        checkpoints: steps at which a checkpoint was saved: a vertical line at each.
        smoothed: plot the moving average, and the numbers themselves faintly behind it.
        markers: mark each value.
        legend: add a legend of the series below the chart.
    """
    figure, axis = _axes(series if legend else ())
    for step in sorted(set(checkpoints)):
        axis.axvline(step, color="#7f7f7f", linewidth=0.8, linestyle=(0, (2, 2)), gid=CHECKPOINT)
    faint = 1 / max(len(series), 4)  # many runs together appear as dark as few
    for number, (_, curve) in enumerate(series):
        color, style = line_of(number)
        gid = f"series-{number}"
        if smoothed:
            raw = thin(curve)
            axis.plot(raw.steps, raw.values, color=color, linewidth=0.6, alpha=faint, gid=gid, zorder=1.5)
        shown = smooth(curve) if smoothed else thin(curve)
        marker = "o" if markers else ""
        axis.plot(*shown, color=color, linestyle=style, linewidth=1.5, marker=marker, markersize=3, gid=gid)
    if smoothed:
        _ignore_outliers(axis, [curve for _, curve in series])
    _label(axis, "step", label)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def settings_of(table: Table) -> list[str]:
    """Return a table's settings in the order of their runs, so that single-seed runs have one color in all charts."""
    first: dict[str, str] = {}
    for row in table.rows:
        run = min(candidate.run for candidate in row.candidates)
        first[row.setting] = min(run, first.get(row.setting, run))
    return sorted(first, key=first.__getitem__)


def draw_metric(table: Table, label: str, *, legend: bool = True) -> Figure:
    """Plot what a table is ranked by against the step, for each setting, with its 95 % interval.

    Checkpoints form a line; averages of weights are diamonds at the step of their last checkpoint. Settings are shifted
    slightly along the steps, so that no interval hides another.

    Args:
        table: a leaderboard's table.
        label: name of the metric.
        legend: add a legend of the settings below the chart.
    """
    settings = settings_of(table)
    figure, axis = _axes([(setting, None) for setting in settings] if legend else ())
    steps = [row.step for row in table.rows]
    width = min(APART * len(settings), MOST_APART) * (max(steps) - min(steps)) if len(settings) > 1 else 0.0
    shifts = np.linspace(-width / 2, width / 2, len(settings))
    for number, setting in enumerate(settings):
        rows = sorted((row for row in table.rows if row.setting == setting), key=lambda row: row.step)
        shift = shifts[number]
        _draw_setting(axis, [row for row in rows if row.kind == "step"], table.measure, number, shift)
        _draw_setting(axis, [row for row in rows if row.kind != "step"], table.measure, number, shift)
    _label(axis, "step", label)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return figure


def _draw_setting(axis: Axes, rows: Sequence[Row], measure: str, number: int, shift: float) -> None:
    color, style = line_of(number)
    steps = np.array([row.step for row in rows], dtype=np.float64) + shift
    values = np.array([row.values.get(measure, np.nan) for row in rows])
    low, high = np.array([row.interval for row in rows], dtype=np.float64).reshape(-1, 2).T
    known = np.isfinite(low) & np.isfinite(high)
    gid = f"series-{number}"
    axis.vlines(steps[known], low[known], high[known], color=color, linewidth=1.1, alpha=0.6, gid=gid)
    is_average = any(row.kind == "average" for row in rows)
    line, marker = ("", "D") if is_average else (style, "o")
    axis.plot(steps, values, color=color, linestyle=line, linewidth=1.5, marker=marker, markersize=4, gid=gid)


def thin(curve: Curve, points: int = MOST_POINTS) -> Curve:
    """Return a curve of at most `points` points: the least and the greatest value of each bin."""
    if len(curve.steps) <= points:
        return curve
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(curve.steps)), points // 2):
        kept |= {int(part[curve.values[part].argmin()]), int(part[curve.values[part].argmax()])}
    chosen = sorted(kept)
    return Curve(curve.steps[chosen], curve.values[chosen])


def smooth(curve: Curve, points: int = MOST_POINTS) -> Curve:
    """Return the centered moving average over `SMOOTHING` of the curve, at evenly spaced points.

    At both ends the window is cut off.
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


def draw_sizes(summaries: Sequence[ImageSummary]) -> Figure:
    """Plot a histogram of nucleus sizes: the square root of the box's area, in pixels of the image."""
    boxes = np.concatenate([np.zeros((0, 4)), *[np.asarray(summary.boxes).reshape(-1, 4) for summary in summaries]])
    sizes = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    figure, axis = _axes(())
    shown = sizes[sizes <= np.percentile(sizes, 99.5)] if len(sizes) else sizes
    axis.hist(shown, bins=min(40, max(len(np.unique(shown.round())), 1)), color=BLUE)
    if len(sizes):
        axis.margins(y=0.14)  # space for the median above the bars
        median = float(np.median(sizes))
        axis.axvline(median, color=VERMILLION, linestyle="--", linewidth=1.4)
        axis.annotate(
            f"median {median:.0f}",
            (median, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
            fontsize=8,
        )
    _label(axis, "size of a nucleus (pixels: square root of its box's area)", "nuclei (number)")
    return figure


def draw_scatter(local: Sequence[float], board: Sequence[float], label: str) -> Figure:
    """Plot the scores that a board returned against local scores.

    Args:
        local: scores on images with known truth.
        board: scores of the same files that the board returned.
        label: name of the local score.
    """
    figure, axis = _axes(())
    axis.scatter(local, board, s=28, color=BLUE)
    _label(axis, label, "score of the board")
    axis.xaxis.set_major_locator(MaxNLocator(4))
    return figure


def _axes(series: Sequence[tuple[str, object]]) -> tuple[Figure, Axes]:
    """Return a figure with one axes, and below it a legend of the series, if there are any."""
    columns = 2 if max((len(name) for name, _ in series), default=0) <= 28 else 1
    height = SIZE[1] + LEGEND_ROW * -(-len(series) // columns)
    with mpl.rc_context({"text.parse_math": False}):  # a run may be named $x$
        figure = Figure(figsize=(SIZE[0], height), layout="constrained")
        axis = figure.add_subplot()
        if series:
            handles = [mpl.lines.Line2D([], [], color=c, linestyle=s) for c, s in map(line_of, range(len(series)))]
            names = [printable(name) for name, _ in series]
            figure.legend(
                handles, names, loc="outside lower left", ncols=columns, frameon=False, fontsize=7, labelspacing=0.3
            )
    return figure, axis


def printable(name: str) -> str:
    """Replace control characters, which SVG forbids, and a leading _, by which matplotlib hides names."""
    text = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name)
    return f"\N{ZERO WIDTH SPACE}{text}" if text.startswith("_") else text


def _label(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8, length=3)
    axis.ticklabel_format(axis="y", scilimits=(-3, 5))
    axis.yaxis.get_offset_text().set_fontsize(8)
    axis.grid(axis="y", color=GRID)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _ignore_outliers(axis: Axes, curves: Sequence[Curve]) -> None:
    """Limit the axis to the smoothed curves and 99 % of the values, so that outliers do not flatten the curves."""
    filled = [curve for curve in curves if len(curve.steps)]
    if filled:
        tops = [max(np.percentile(curve.values, 99), smooth(curve).values.max()) for curve in filled]
        bottoms = [curve.values.min() for curve in filled]
        margin = 0.05 * (max(tops) - min(bottoms))
        if margin > 0:
            axis.set_ylim(min(bottoms) - margin, max(tops) + margin)
