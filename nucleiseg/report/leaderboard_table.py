"""Format a table of the leaderboard as cells, for terminal, Markdown, LaTeX, CSV and HTML."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from nucleiseg.leaderboard.board import Row, Table
from nucleiseg.leaderboard.columns import FACTS, IDENTITY, INTERVAL, MISSING, Column, Value
from nucleiseg.leaderboard.entries import smallest_seed_count
from nucleiseg.leaderboard.metrics import CEILING, METRICS, column_of

CHOICE = (
    "ap50",
    "ap50_100",
    "ap",
    "pq",
    "aji_plus",
    "count_mae",
    "parameters",
    "seconds_per_step",
    "seconds_per_image",
    "peak_memory_mb",
)
"""Metrics and facts of the compact table besides the ranking score; CSV and HTML have all."""

BRACKETS = f"In brackets: {INTERVAL}"
"""Definition of the interval behind the ranking number."""

_IDENTITY = {column.key: column for column in IDENTITY}


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: its formatted value.
        value: the sort key; None sorts last.
        is_best: whether it is the best of its column, or names the best row.
        is_tied: whether it names a row that is statistically indistinguishable from the best.
    """

    text: str
    value: Value = None
    is_best: bool = False
    is_tied: bool = False


@dataclass(frozen=True)
class TableColumn:
    """A column with its cells, from the first row down.

    Attributes:
        title: its heading with the unit.
        cells: one for each row.
        definition: a sentence on the values; empty if the heading suffices.
        is_number: whether it holds numbers, which are aligned to the right.
        sorts_descending: whether the page sorts it in descending order first.
    """

    title: str
    cells: tuple[Cell, ...]
    definition: str = ""
    is_number: bool = True
    sorts_descending: bool = False


@dataclass(frozen=True)
class Bar:
    """A 95 % interval on the scale that all rows of a table share, in percent of its length."""

    low: float
    value: float
    high: float


@dataclass(frozen=True)
class TableRow:
    """A row besides its metric cells.

    Attributes:
        row: the row.
        status: its comparison with the best row.
        interval: 95 % interval of the score.
        bar: the interval as a picture; None if it is unknown.
        difference: 95 % interval of this row minus the best one.
    """

    row: Row
    status: Literal["best", "tied", "behind"]
    interval: Cell
    bar: Bar | None
    difference: Cell


@dataclass(frozen=True)
class LeaderboardTable:
    """A table of the leaderboard.

    Attributes:
        table: the table.
        rows: its rows.
        score: the column that ranks.
        columns: all other metrics and facts with a known value, by key.
    """

    table: Table
    rows: tuple[TableRow, ...]
    score: TableColumn
    columns: Mapping[str, TableColumn]

    def compact(self) -> list[TableColumn]:
        """Return the columns for terminal and papers: rank, setting, step, score with its interval, and `CHOICE`."""
        rows = self.table.rows
        named = (Cell(row.setting, row.setting, row is rows[0], row.tied and row is not rows[0]) for row in rows)
        steps = (Cell(f"{row.step} (averaged)" if row.kind == "average" else f"{row.step}", row.step) for row in rows)
        score = []
        for cell, row in zip(self.score.cells, rows, strict=True):
            low, high = (column_of(self.table.measure).text(end) for end in row.interval)
            score.append(replace(cell, text=cell.text if MISSING in (low, high) else f"{cell.text} [{low}, {high}]"))
        return [
            TableColumn(_IDENTITY["rank"].title, tuple(Cell(str(row.rank), row.rank) for row in rows)),
            TableColumn(_IDENTITY["setting"].title, tuple(named), is_number=False),
            TableColumn(_IDENTITY["step"].title, tuple(steps)),
            replace(self.score, cells=tuple(score), definition=f"{self.score.definition} {BRACKETS}"),
            *(self.columns[key] for key in CHOICE if key in self.columns),
        ]


def leaderboard_table(table: Table) -> LeaderboardTable:
    """Lay out a table: the ranking score, then every metric and fact known of any row."""
    values = [row_values(row) for row in table.rows]
    known = dict.fromkeys(key for row in values for key, value in row.items() if value is not None)
    # cells of metrics contain the ceilings, the score is a share, and each format lays out the identity differently
    keys = [key for key in known if key not in _IDENTITY and not key.endswith(("_ceiling", "_share"))]
    keys = [key for key in dict.fromkeys((table.rank_by, *keys)) if key != table.measure]
    measure = column_of(table.measure)
    scores = [row.values.get(table.measure, math.nan) for row in table.rows]
    ends = [end for row in table.rows for end in row.interval]
    finite = [number for number in (*ends, *scores) if math.isfinite(number)] or [0.0]
    rows = [
        TableRow(
            row=row,
            status="best" if number == 0 else "tied" if row.tied else "behind",
            interval=_interval(measure, row.interval),
            bar=_bar(score, row.interval, min(finite), max(finite)),
            difference=_interval(measure, row.difference) if number else Cell(MISSING),
        )
        for number, (row, score) in enumerate(zip(table.rows, scores, strict=True))
    ]
    columns = {key: _column(key, values) for key in keys}
    return LeaderboardTable(table, tuple(rows), _column(table.measure, values), columns)


def row_values(row: Row) -> dict[str, Value]:
    """Return every value of a row by key, unformatted: identity, metrics in the report's order, facts.

    All rows of a leaderboard have the same keys, if their records were made by one version.
    """
    facts = {**row.facts, "seeds": smallest_seed_count(row.candidates)}
    facts["image_sets"] = len({candidate.image_set for candidate in row.candidates})
    values: dict[str, Value] = {
        "rank": row.rank,
        "setting": row.setting,
        "step": row.step,
        "kind": row.kind,
        "tied": "yes" if row.tied else "no",
        "interval_low": row.interval[0],
        "interval_high": row.interval[1],
        "difference_low": row.difference[0],
        "difference_high": row.difference[1],
        **row.values,
        **{key: facts.get(key) for key in FACTS},
    }
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def text_with_ceiling(key: str, values: Mapping[str, Value]) -> str:
    """Format a value; that of a metric with a ceiling as `0.2441 of at most 0.2574`.

    Args:
        key: of a metric or fact.
        values: of the row, by key.
    """
    column, metric = column_of(key), METRICS.get(key)
    text = column.text(values.get(key))
    ceiling = column.text(values.get(CEILING) if metric and metric.has_ceiling else None)
    return text if MISSING in (text, ceiling) else f"{text} of at most {ceiling}"


def _column(key: str, rows: Sequence[Mapping[str, Value]]) -> TableColumn:
    """Return a column with its best metrics marked; facts are not compared."""
    column, metric = column_of(key), METRICS.get(key.removesuffix("_share"))
    values = [row.get(key) for row in rows]
    goodness = [metric.goodness(value) if metric and isinstance(value, float) else -math.inf for value in values]
    best = max(goodness)
    return TableColumn(
        title=column.title,
        cells=tuple(
            Cell(text_with_ceiling(key, row), value, is_best=good == best > -math.inf)
            for row, value, good in zip(rows, values, goodness, strict=True)
        ),
        definition=column.definition,
        is_number=not any(isinstance(value, str) for value in values),
        sorts_descending=column.better == "higher",
    )


def _interval(column: Column, ends: tuple[float, float]) -> Cell:
    low, high = ends
    if not math.isfinite(low + high):
        return Cell("not known")
    return Cell(f"{column.text(low)} to {column.text(high)}", low)


def _bar(score: float, interval: tuple[float, float], least: float, greatest: float) -> Bar | None:
    numbers = (interval[0], score, interval[1])
    if not all(map(math.isfinite, numbers)) or greatest <= least:
        return None
    return Bar(*(100 * (number - least) / (greatest - least) for number in numbers))
