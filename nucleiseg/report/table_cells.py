"""A table of the leaderboard as columns of plain text, for the terminal and for papers: few, and the best marked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nucleiseg.leaderboard.board import Row, Table
from nucleiseg.leaderboard.columns import (
    CHOICE,
    IDENTITY,
    INTERVAL,
    Column,
    Value,
    cells,
    column_of,
    with_ceiling,
)
from nucleiseg.leaderboard.metrics import METRICS

BRACKETS = f"In brackets: {INTERVAL}"
"""What stands behind the number that ranks."""

_IDENTITY = {column.key: column for column in IDENTITY}


@dataclass(frozen=True)
class TextCell:
    """A cell: its text, whether it is the best of its column, and whether its row is tied with the best row."""

    text: str
    is_best: bool = False
    is_tied: bool = False


@dataclass(frozen=True)
class TextColumn:
    """A column: its head, its cells from the first row down, and what it means (empty if its head says it)."""

    head: str
    cells: tuple[TextCell, ...]
    definition: str = ""
    is_number: bool = True


def text_columns(table: Table) -> list[TextColumn]:
    """Return what a reader wants to see of a table: what ranks, and what is known of `CHOICE`."""
    rows = [{column.key: value for column, value in cells(row)} for row in table.rows]
    chosen = [key for key in CHOICE if key != table.measure and any(row.get(key) is not None for row in rows)]
    measure = column_of(table.measure)
    ranked = [f"{measure.text(row.values.get(measure.key))}{_brackets(measure, row)}" for row in table.rows]
    return [
        TextColumn(_IDENTITY["rank"].title, tuple(TextCell(str(row.rank)) for row in table.rows)),
        TextColumn(_IDENTITY["setting"].title, tuple(_setting(row, table) for row in table.rows), is_number=False),
        TextColumn(_IDENTITY["step"].title, tuple(TextCell(_step(row)) for row in table.rows)),
        _column(measure, ranked, rows, f" {BRACKETS}"),
        *(_column(column_of(key), [with_ceiling(key, row) for row in rows], rows) for key in chosen),
    ]


def definitions(shown: Iterable[TextColumn]) -> dict[str, str]:
    """Return the heads of the columns that need an explanation, each once, with it."""
    return {column.head: column.definition for column in shown if column.definition}


def _column(column: Column, texts: Sequence[str], rows: Sequence[Mapping[str, Value]], more: str = "") -> TextColumn:
    """Return a column whose best metrics are marked; facts are no contest."""
    metric = METRICS.get(column.key.removesuffix("_share"))
    values = [row.get(column.key) for row in rows]
    goodness = [metric.goodness(value) if metric and isinstance(value, float) else -math.inf for value in values]
    best = max(goodness)
    marked = (TextCell(text, one == best > -math.inf) for text, one in zip(texts, goodness, strict=True))
    return TextColumn(column.title, tuple(marked), column.definition + more)


def _setting(row: Row, table: Table) -> TextCell:
    is_best = row is table.rows[0]
    return TextCell(row.setting, is_best, row.tied and not is_best)


def _step(row: Row) -> str:
    return f"{row.step} (averaged)" if row.kind == "average" else str(row.step)


def _brackets(measure: Column, row: Row) -> str:
    """Return ` [0.7149, 0.7801]`; nothing where no interval is known."""
    low, high = row.interval
    return "" if math.isnan(low) or math.isnan(high) else f" [{measure.text(low)}, {measure.text(high)}]"
