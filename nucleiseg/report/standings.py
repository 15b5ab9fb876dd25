"""The leaderboard as a page shows it: cells with a text, a number to sort by and a bar for each interval."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nucleiseg.leaderboard.board import Row, Table
from nucleiseg.leaderboard.columns import (
    IDENTITY,
    MISSING,
    Column,
    Value,
    cells,
    metric_column,
    with_ceiling,
)

Verdict = Literal["best", "tied", "behind"]
"""The first row; rows that cannot be told from it; the others."""

APART = {column.key for column in IDENTITY}
"""Columns that the page lays out by itself: name, rank, intervals."""


@dataclass(frozen=True)
class Heading:
    """The head of a column: its name, what it means, and how its first press sorts."""

    text: str
    definition: str
    first: Literal["ascending", "descending"]
    is_number: bool = True


@dataclass(frozen=True)
class PageCell:
    """A cell: what it says, and the number or text that it is sorted by (None comes last)."""

    text: str
    sort: Value


@dataclass(frozen=True)
class Bar:
    """A 95 % interval on the scale that all rows of a table share, in percent of its length."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class Line:
    """A row of a table as the page shows it.

    Attributes:
        row: the row.
        verdict: how it compares with the best one.
        score: what the table is ranked by.
        interval: its 95 % interval.
        bar: the interval as a picture; None where it is not known.
        difference: 95 % interval of this row minus the best one.
        cells: the other metrics, and the facts.
    """

    row: Row
    verdict: Verdict
    score: PageCell
    interval: PageCell
    bar: Bar | None
    difference: PageCell
    cells: tuple[PageCell, ...]


@dataclass(frozen=True)
class Standings:
    """A table of the leaderboard as the page shows it: the heads of its score and of its other cells, and its lines."""

    table: Table
    measure: Heading
    headings: tuple[Heading, ...]
    lines: tuple[Line, ...]


def standings(table: Table) -> Standings:
    """Lay out a table: what it is ranked by, then every metric and fact that any of its rows knows."""
    known = [{column.key: (column, value) for column, value in cells(row)} for row in table.rows]
    keys = list(dict.fromkeys((table.rank_by, *_shown(known))))
    keys = [key for key in keys if key != table.measure]
    columns = [next(row[key][0] for row in known if key in row) for key in keys]
    measure = metric_column(table.measure)
    low, high = _range(table.rows, table.measure)
    lines = [
        Line(
            row=row,
            verdict="best" if number == 0 else "tied" if row.tied else "behind",
            score=_cell(table.measure, values),
            interval=_interval(measure, *row.interval),
            bar=_bar(row, table.measure, low, high),
            difference=_interval(measure, *row.difference) if number else PageCell(MISSING, None),
            cells=tuple(_cell(column.key, values) for column in columns),
        )
        for number, (row, values) in enumerate(zip(table.rows, known, strict=True))
    ]
    headings = tuple(_heading(column, known) for column in columns)
    return Standings(table, _heading(measure, known), headings, tuple(lines))


def _shown(rows: Sequence[Mapping[str, tuple[Column, Value]]]) -> Iterator[str]:
    """Yield the keys of the columns in which something is known; ceilings and shares stand beside their metrics."""
    for key in dict.fromkeys(key for row in rows for key in row):
        is_known = any(row[key][1] is not None for row in rows if key in row)
        if is_known and key not in APART and not key.endswith(("_ceiling", "_share")):
            yield key


def _heading(column: Column, rows: Sequence[Mapping[str, tuple[Column, Value]]]) -> Heading:
    is_text = any(isinstance(row[column.key][1], str) for row in rows if column.key in row)
    first: Literal["ascending", "descending"] = "descending" if column.higher_is_better else "ascending"
    return Heading(column.title, column.definition, first, not is_text)


def _cell(key: str, row: Mapping[str, tuple[Column, Value]]) -> PageCell:
    values = {name: value for name, (_, value) in row.items()}
    return PageCell(with_ceiling(key, values), values.get(key))


def _interval(column: Column, low: float, high: float) -> PageCell:
    if not math.isfinite(low + high):
        return PageCell("not known", None)
    return PageCell(f"{column.text(low)} to {column.text(high)}", low)


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
