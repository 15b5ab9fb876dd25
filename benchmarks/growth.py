"""Plot time and memory of a training step by its number of nuclei.

`benchmarks.page` plots `results/training_step.json`, so the figure agrees with the table.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nucleiseg.report.preview_figures import BLUE, VERMILLION

LINES = {"r50_fpn": ("nucleiseg", BLUE, "-"), "stock_fpn": ("stock torchvision", VERMILLION, "--")}
"""Plotted models of the table: label, color and line style."""

PANELS = {"seconds": ("seconds a step", 1.0), "peak memory, MB": ("peak memory, GB", 1e-3)}
"""Plotted columns of the table: axis label and factor."""

NUCLEI = "nuclei in each"


def plot_growth(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot time and memory side by side, each axis from 0.

    Args:
        rows: table of `benchmarks.training_step`; models that are not in `LINES` are skipped.
    """
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, (column, (label, factor)) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for model in LINES:
            _draw_line(axes, [row for row in rows if row["model"] == model], column, factor)
        axes.set(xlabel="nuclei in the crop of 608 x 608", ylabel=label, xlim=(0, None), ylim=(0, None))
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left")
    return figure


def _draw_line(axes: Axes, rows: Sequence[Mapping[str, Any]], column: str, factor: float) -> None:
    if rows:
        name, color, style = LINES[rows[0]["model"]]
        values = [factor * row[column] for row in rows]
        axes.plot([row[NUCLEI] for row in rows], values, style, color=color, marker="o", markersize=4, label=name)


def as_svg(figure: Figure) -> str:
    """Return a figure as SVG on white, without a date or random ids, so that the same rows give the same text."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "nucleiseg"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
