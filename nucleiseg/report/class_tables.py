"""Lay out the metrics of single classes, and which classes are confused, as tables of the page.

For example:

    tables = class_tables(record.report)
    tables.rows[0].name                     # "tumor"
    tables.confusion[0].cells[1].text       # "4": so many nuclei of the first class were found as the second
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nucleiseg.evaluation.definitions import DEFINITIONS
from nucleiseg.leaderboard.columns import Column
from nucleiseg.leaderboard.metrics import METRICS

COUNTS = (
    Column("truths", "nuclei", "Nuclei of the truth.", number_format=",.0f"),
    Column("count", "counted", "Results of at least the score threshold of counts.", number_format=",.0f"),
)
"""Columns before the metrics."""

CHOICE = ("ap", "ap50", "ap75", "dq", "sq", "pq", "aji_plus", "count_mae", "count_bias")
"""Metrics of the table of classes."""

COLUMNS = (*COUNTS, *(METRICS[key] for key in CHOICE))


@dataclass(frozen=True)
class ClassRow:
    """A class, or the mean of all: its name, and a formatted number for each of `COLUMNS`."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class ConfusionCell:
    """A cell of the confusion matrix.

    Attributes:
        text: the count.
        share: its share of the row, 0 .. 1, which colors the cell.
        is_right: whether truth and result have one class.
        title: the cell in words.
    """

    text: str
    share: float
    is_right: bool
    title: str


@dataclass(frozen=True)
class ConfusionRow:
    """A class of the truth, or the spurious results: its name, cells, and the sum of the row."""

    name: str
    cells: tuple[ConfusionCell, ...]
    total: int


@dataclass(frozen=True)
class ClassTables:
    """Both tables of one checkpoint.

    Attributes:
        rows: the classes, then their mean.
        results: headings of the columns of the confusion matrix.
        confusion: its rows.
    """

    rows: tuple[ClassRow, ...]
    results: tuple[str, ...]
    confusion: tuple[ConfusionRow, ...]
    columns: tuple[Column, ...] = COLUMNS
    meaning: str = f"H{DEFINITIONS['confusion'].removeprefix('With several classes: h')}"


def class_tables(report: Mapping[str, Any]) -> ClassTables | None:
    """Return the tables of a report (`Report.to_dict`); None where there is no more than one class."""
    if "confusion" not in report:
        return None
    means = {key: report[key] for key in ("ap", "ap50", "ap75")} | report["mean_over_classes"]
    groups = {**report["per_class"], "mean over classes": means}
    rows = [
        ClassRow(name, tuple(column.text(group.get(column.key)) for column in COLUMNS))
        for name, group in groups.items()
    ]
    classes, matrix = report["confusion"]["classes"], report["confusion"]["matrix"]
    names, results = [*classes, "spurious"], (*classes, "missed")
    return ClassTables(
        tuple(rows), results, tuple(_row(name, results, line) for name, line in zip(names, matrix, strict=True))
    )


def _row(name: str, results: tuple[str, ...], counts: list[int]) -> ConfusionRow:
    total = sum(counts)
    is_truth = name != "spurious"
    cells = []
    for result, count in zip(results, counts, strict=True):
        found = "were missed" if result == "missed" else f"were found as {result}"
        what = (
            f"{count:,} of {total:,} nuclei of {name} {found}"
            if is_truth
            else f"{count:,} spurious results of {result}"
        )
        text = "" if not is_truth and result == "missed" else f"{count:,}"
        cells.append(ConfusionCell(text, count / total if total else 0.0, name == result, what if text else ""))
    return ConfusionRow(name, tuple(cells), total)
