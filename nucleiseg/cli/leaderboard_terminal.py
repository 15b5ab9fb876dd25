"""The leaderboard on a terminal."""

import sys
from textwrap import wrap

from rich import box
from rich.console import Console
from rich.table import Table as TextTable
from rich.text import Text

from nucleiseg.leaderboard.board import Leaderboard, Row, Table
from nucleiseg.leaderboard.columns import metric_column
from nucleiseg.progress import counted, say
from nucleiseg.report.table_cells import TextColumn, text_columns

WIDTH = 200
"""Columns where the output is not a terminal, which would wrap the table at 80."""

HEAD_WIDTH = 10
"""Letters in a line of a head, so that heads are no wider than their numbers."""


def print_leaderboard(board: Leaderboard) -> None:
    """Print every table with what can be told from it, then the notes."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    for table in board.tables:
        console.print(_text_table(table))
        say(table.sentence)
    for note in board.notes:
        say(f"Note: {note}")


def _text_table(table: Table) -> TextTable:
    rows, images = counted(len(table.rows), "row"), counted(len(table.images), "image")
    measure = metric_column(table.measure).heading
    text = TextTable(
        title=Text(f"{rows} (settings and steps) on {images}, by {measure} [95 % interval]"),
        caption="* best   ~ cannot be told from the best",
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    rank, *columns = text_columns(table)
    for column in (rank, *columns):
        text.add_column(_head(column), justify="right" if column.is_number else "left", no_wrap=column.is_number)
    for row, cells in zip(table.rows, zip(*(column.cells for column in columns), strict=True), strict=True):
        text.add_row(_place(row), *(Text(cell.text) for cell in cells), style=_style(row))
    return text


def _head(column: TextColumn) -> Text:
    return Text("\n".join(wrap(column.head, HEAD_WIDTH, break_long_words=False)))


def _place(row: Row) -> Text:
    """Return the rank, with a star for the best and a tilde for those that cannot be told from it."""
    return Text(f"{'*' if row.rank == 1 else '~' if row.tied else ''} {row.rank}".strip())


def _style(row: Row) -> str:
    return "bold" if row.rank == 1 else "" if not row.tied else "dim"
