"""Select the charts of a report, for the page and as SVG and PDF files for papers."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from nucleiseg.files import atomic_path
from nucleiseg.leaderboard.board import Leaderboard, Table
from nucleiseg.leaderboard.metrics import column_of
from nucleiseg.progress import counted
from nucleiseg.report.charts import Series, draw_curves, draw_metric, draw_scatter, draw_sizes
from nucleiseg.report.correlation import comparable
from nucleiseg.report.data_check import ImageSummary
from nucleiseg.report.preview_figures import draw_counts
from nucleiseg.report.submission_ledger import Submission
from nucleiseg.run_folder import flatten
from nucleiseg.run_tables import read_curve
from nucleiseg.runs import Run

Group = Literal["ranking", "training", "parts", "data", "submissions"]

LOSS_TITLES = {
    "loss_rpn_cls": "RPN: nucleus or background",
    "loss_rpn_loc": "RPN: position of proposals",
    "loss_cls": "RoI head: class",
    "loss_box_reg": "RoI head: position of boxes",
    "loss_mask": "RoI head: mask",
}
"""Titles of losses; others are titled by their column of `metrics.csv`."""

OWN_FILE = re.compile(
    r"(ranking_\d+|submissions_\w*|train_loss\w*|val_(loss|ap50)|lr|nuclei_per_image|nucleus_sizes)"
    r"\.(svg|pdf)",
    re.ASCII,
)
"""Names of chart files; other files in the folder are not removed."""


@dataclass(frozen=True)
class Chart:
    """A figure of the report.

    Attributes:
        name: of its files, and part of its ids: letters, digits and underscores.
        title: its heading.
        description: a sentence on what it shows, for screen readers.
        group: the part of the page that it belongs to.
        draw: returns the figure, with or without a legend of its series.
    """

    name: str
    title: str
    description: str
    group: Group
    draw: Callable[[bool], Figure]


def charts(
    leaderboard: Leaderboard,
    runs: Sequence[Run],
    summaries: Sequence[ImageSummary],
    submissions: Sequence[Submission],
) -> list[Chart]:
    """Return the charts for which there are data.

    Args:
        leaderboard: the ranked checkpoints.
        runs: the runs.
        summaries: the images of the data set; may be empty.
        submissions: rows of `submissions.csv`; may be empty.
    """
    return [*_ranking(leaderboard.tables), *_training(runs), *_data(runs, summaries), *_submissions(submissions)]


def write_figures(folder: Path, written: Sequence[Chart]) -> list[Path]:
    """Write charts with legends as SVG and PDF files; remove obsolete charts of an earlier call.

    Args:
        folder: to write to; created if missing.
        written: the charts.

    Returns:
        The files.
    """
    paths = []
    for chart in written:
        figure = chart.draw(True)
        for suffix in (".svg", ".pdf"):
            path = folder / f"{chart.name}{suffix}"
            with atomic_path(path) as temporary:
                figure.savefig(temporary, metadata={"Date" if suffix == ".svg" else "CreationDate": None})
            paths.append(path)
    for path in folder.glob("*"):
        if path not in paths and OWN_FILE.fullmatch(path.name):
            path.unlink()
    return paths


def _submissions(submissions: Sequence[Submission]) -> Iterator[Chart]:
    """Yield for each metric of the submissions a chart of the board's scores against local scores."""
    for metric in dict.fromkeys(row.metric for row in submissions):
        scores = comparable(row for row in submissions if row.metric == metric)
        if scores.local:
            name = re.sub(r"\W", "_", f"submissions_{metric}", flags=re.ASCII)
            title = f"Score of the board against local {metric or 'score'}"
            description = f"A point for each of {counted(len(scores.local), 'submission')}. {scores.left_out}".strip()
            label = f"{metric or 'score'} on validation images{', share of ceiling' * scores.is_share}"
            draw = partial(draw_scatter, scores.local, scores.board, label)
            yield Chart(name, title, description, "submissions", lambda _, draw=draw: draw())  # type: ignore[misc]


def _ranking(tables: Sequence[Table]) -> Iterator[Chart]:
    for number, table in enumerate(tables, 1):
        label = column_of(table.measure).heading
        title = f"{label} of each checkpoint and its 95 % interval" + (f", table {number}" if len(tables) > 1 else "")
        yield Chart(
            f"ranking_{number}",
            title,
            f"{label} against the step of each setting; settings are shifted slightly along the steps.",
            "ranking",
            lambda legend, table=table, label=label: draw_metric(table, label, legend=legend),  # type: ignore[misc]
        )


def _training(runs: Sequence[Run]) -> Iterator[Chart]:
    saved = [step for run in runs for step, _ in run.checkpoints]
    note = "A vertical line at each saved checkpoint."
    yield from _curves(
        runs, "train/loss", "Training loss", "training", f"Moving average over the single steps. {note}", saved
    )
    yield from _curves(runs, "val/loss", "Validation loss", "training", note, saved)
    yield from _curves(runs, "val/ap50", "AP50 on validation", "training", f"All detections. {note}", saved)
    columns = dict.fromkeys(column for run in runs for row in run.metrics[:1] for column in row)
    for column in [column for column in columns if column.startswith("train/loss_")]:
        title = LOSS_TITLES.get(column.removeprefix("train/"), column)
        yield from _curves(runs, column, title, "parts", "Moving average over the single steps.", ())
    yield from _curves(runs, "lr", "Learning rate", "parts", "As set by the schedule.", ())


def _curves(
    runs: Sequence[Run], column: str, title: str, group: Group, note: str, checkpoints: Sequence[float]
) -> Iterator[Chart]:
    """Yield the chart of a column of `metrics.csv` if any run has values in it."""
    series: Series = [(run.name, read_curve(run.metrics, column)) for run in runs]
    if not any(len(curve.steps) for _, curve in series):
        return

    def draw(legend: bool) -> Figure:
        return draw_curves(
            series,
            column,
            checkpoints=checkpoints,
            smoothed=column.startswith("train/"),
            markers=column.startswith("val/"),
            legend=legend,
        )

    ends = [f"{name} {curve.values[-1]:.4g}" for name, curve in series if len(curve.steps)]
    more = f" and {len(ends) - 5} more runs" if len(ends) > 5 else ""
    last = f"Last values: {', '.join(ends[:5])}{more}."
    description = f"{title} ({column}) against the step. {note} {last}"
    yield Chart(column.replace("/", "_"), title, description, group, draw)


def _data(runs: Sequence[Run], summaries: Sequence[ImageSummary]) -> Iterator[Chart]:
    if not summaries:
        return
    counts = [len(summary.boxes) for summary in summaries]
    yield Chart(
        "nuclei_per_image",
        "Nuclei per image",
        f"From {min(counts):,} to {max(counts):,} nuclei, {np.median(counts):,.0f} in the median.",
        "data",
        lambda _: draw_counts(summaries, _limits(runs)),
    )
    yield Chart(
        "nucleus_sizes",
        "Size of nuclei",
        "Number of nuclei of each size, in pixels of their images.",
        "data",
        lambda _: draw_sizes(summaries),
    )


def _limits(runs: Sequence[Run]) -> dict[str, int]:
    """Return the distinct limits on detections of the runs: name -> limit."""
    by_limit: dict[int, list[str]] = {}
    for run in runs:
        limit = flatten(run.config).get("model.detection.limit")
        if isinstance(limit, int):
            by_limit.setdefault(limit, []).append(run.name)
    if len(by_limit) == 1:
        return {"detections": next(iter(by_limit))}
    others = {
        limit: f" and {counted(len(names) - 1, 'other run')}" * (len(names) > 1) for limit, names in by_limit.items()
    }
    return {f"detections ({by_limit[limit][0]}{others[limit]})": limit for limit in sorted(by_limit)}
