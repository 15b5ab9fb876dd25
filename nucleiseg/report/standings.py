"""The leaderboard as a page shows it: cells with a text, a number to sort by and a bar for each interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nucleiseg.evaluation.leaderboard.board import Row, Table
from nucleiseg.evaluation.leaderboard.metrics import METRICS
from nucleiseg.report.table_cells import FACTS, HEADS, MISSING, definition, head, number

Verdict = Literal["best", "tied", "behind"]
"""The first row; rows that cannot be told from it; the others."""


@dataclass(frozen=True)
class Heading:
    """The head of a column: its name, what it means, and how its first press sorts."""

    text: str
    definition: str
    first: Literal["ascending", "descending"]


@dataclass(frozen=True)
class Cell:
    """A cell: what it says, and the number or text that it is sorted by (None comes last)."""

    text: str
    sort: float | str | None


@dataclass(frozen=True)
class Bar:
    """A 95 % interval on the scale that all rows of a table share, in percent of its length."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Line:
    """A row of a table as the page shows it."""

    row: Row
    verdict: Verdict
    score: Cell
    interval: Cell
    bar: Bar | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Standings:
    """A table of the leaderboard as the page shows it."""

    table: Table
    measure: Heading
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


def standings(table: Table) -> Standings:
    """Lay out a table: what it is ranked by, then every metric and fact that any of its rows knows."""
    wanted = [key for key in dict.fromkeys((table.rank_by, *HEADS)) if key != table.measure]
    metrics = [key for key in wanted if any(_known(row, key) for row in table.rows)]
    facts = [key for key in FACTS if any(isinstance(row.facts.get(key), int | float) for row in table.rows)]
    headings = [*map(_heading, metrics), *(Heading(FACTS[key][0], "", "ascending") for key in facts)]
    low, high = _range(table.rows, table.measure)
    lines = [
        Line(
            row=row,
            verdict="best" if number == 0 else "tied" if row.tied else "behind",
            score=_metric(row, table.measure),
            interval=_interval(row),
            bar=_bar(row, table.measure, low, high),
            cells=(*(_metric(row, key) for key in metrics), *(_fact(row, key) for key in facts)),
        )
        for number, row in enumerate(table.rows)
    ]
    return Standings(table, _heading(table.measure), tuple(headings), tuple(lines))


def _heading(key: str) -> Heading:
    metric = METRICS.get(key.removesuffix("_share"))
    first = "descending" if metric is None or metric.better == "higher" else "ascending"
    return Heading(head(key), definition(key), first)


def _known(row: Row, key: str) -> bool:
    return math.isfinite(row.values.get(key, math.nan))


def _metric(row: Row, key: str) -> Cell:
    if not _known(row, key):
        return Cell(MISSING, None)
    value, ceiling = row.values[key], row.values.get(f"{key}_ceiling", math.nan)
    text = number(value) if math.isnan(ceiling) else f"{number(value)} of at most {number(ceiling)}"
    return Cell(text, value)


def _fact(row: Row, key: str) -> Cell:
    value = row.facts.get(key)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return Cell(MISSING, None)
    return Cell(FACTS[key][1](value), float(value))


def _interval(row: Row) -> Cell:
    low, high = row.interval
    if not math.isfinite(low + high):
        return Cell("not known", None)
    return Cell(f"{number(low, 3)} to {number(high, 3)}", low)


def _range(rows: Sequence[Row], measure: str) -> tuple[float, float]:
    """Return the least and the greatest number that the bars of a table have to show."""
    numbers = [number for row in rows for number in (*row.interval, row.values.get(measure, math.nan))]
    finite = [number for number in numbers if math.isfinite(number)] or [0.0]
    return min(finite), max(finite)


def _bar(row: Row, measure: str, low: float, high: float) -> Bar | None:
    numbers = (row.interval[0], row.values.get(measure, math.nan), row.interval[1])
    if not all(map(math.isfinite, numbers)) or high <= low:
        return None
    return Bar(*(100 * (number - low) / (high - low) for number in numbers))
