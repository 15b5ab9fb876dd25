"""A table of the leaderboard as columns of plain text, for a paper: few columns, short numbers, the best marked."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nucleiseg.evaluation.leaderboard.board import Row, Table
from nucleiseg.evaluation.leaderboard.columns import metric_column
from nucleiseg.evaluation.leaderboard.metrics import METRICS

MISSING = "–"
"""Stands for a number that is undefined or unknown."""

CHOICE = ("ap50", "ap50_100", "ap", "pq", "aji_plus", "count_mae")
"""Metrics that are shown beside that of the ranking; the CSV file has all."""

INTERVAL = "In brackets: 95 % interval, from a bootstrap over the images."


@dataclass(frozen=True)
class Cell:
    """A cell: its text, whether it is the best of its column, and whether its row is tied with the best row."""

    text: str
    is_best: bool = False
    is_tied: bool = False


@dataclass(frozen=True)
class Column:
    """A column: its head, its cells from the first row down, and what it means (empty if its head says it)."""

    head: str
    cells: tuple[Cell, ...]
    definition: str = ""
    is_number: bool = True


FACTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("Parameters", lambda count: f"{count / 1e6:.1f} M"),
    "seconds_per_step": ("Training step", lambda seconds: f"{seconds:.3g} s"),
    "seconds_per_image": ("Prediction", lambda seconds: f"{seconds:.3g} s"),
    "peak_memory_mb": ("Peak memory", lambda size: f"{size / 1000:.1f} GB" if size >= 1000 else f"{size:.0f} MB"),
}
"""Numbers of a row beside its metrics: head and form. Seconds are of a step and of an image."""


def columns(table: Table) -> list[Column]:
    """Return what a reader wants to see of a table: only columns in which something is known."""
    metrics = [key for key in CHOICE if key != table.measure and any(_is_known(row, key) for row in table.rows)]
    facts = [key for key in FACTS if any(isinstance(row.facts.get(key), int | float) for row in table.rows)]
    return [
        Column("Rank", tuple(Cell(str(row.rank)) for row in table.rows)),
        Column("Setting", tuple(_setting(row, table) for row in table.rows), is_number=False),
        Column("Step", tuple(Cell(_step(row)) for row in table.rows)),
        _metric_column(table.measure, table.rows, _with_interval, f" {INTERVAL}"),
        *(_metric_column(key, table.rows, _with_ceiling) for key in metrics),
        *(_fact_column(key, table.rows) for key in facts),
    ]


def definitions(shown: Iterable[Column]) -> dict[str, str]:
    """Return the heads of the columns that need an explanation, each once, with it."""
    return {column.head: column.definition for column in shown if column.definition}


def number(value: float, decimals: int = 4) -> str:
    """Return a metric as text: shares with so many decimals, counts with one."""
    if math.isnan(value):
        return MISSING
    return f"{value:.{decimals}f}" if abs(value) <= 1 else f"{value:.1f}"


def _metric_column(key: str, rows: Sequence[Row], text: Callable[[Row, str], str], more: str = "") -> Column:
    metric = METRICS.get(key.removesuffix("_share"))
    goodness = [metric.goodness(row.values.get(key, math.nan)) if metric else -math.inf for row in rows]
    best = max(goodness)
    cells = [Cell(text(row, key), one == best > -math.inf) for row, one in zip(rows, goodness, strict=True)]
    known = metric_column(key)
    return Column(known.heading, tuple(cells), known.definition + more)


def _fact_column(key: str, rows: Sequence[Row]) -> Column:
    title, text = FACTS[key]
    values = [row.facts.get(key) for row in rows]
    return Column(title, tuple(Cell(text(value) if isinstance(value, int | float) else MISSING) for value in values))


def _setting(row: Row, table: Table) -> Cell:
    is_best = row is table.rows[0]
    return Cell(row.setting, is_best, row.tied and not is_best)


def _step(row: Row) -> str:
    return f"{row.step} (averaged)" if row.kind == "average" else str(row.step)


def _with_interval(row: Row, key: str) -> str:
    """Return `0.746 [0.71, 0.78]`."""
    text = number(row.values.get(key, math.nan), 3)
    low, high = row.interval
    return text if math.isnan(low) or math.isnan(high) else f"{text} [{number(low, 2)}, {number(high, 2)}]"


def _with_ceiling(row: Row, key: str) -> str:
    """Return `0.2441 of at most 0.2574` for a metric with a ceiling, else the number alone."""
    text = number(row.values.get(key, math.nan))
    ceiling = row.values.get(f"{key}_ceiling", math.nan)
    return text if math.isnan(ceiling) else f"{text} of at most {number(ceiling)}"


def _is_known(row: Row, key: str) -> bool:
    return not math.isnan(row.values.get(key, math.nan))
