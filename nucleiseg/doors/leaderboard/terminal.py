"""The leaderboard on a terminal."""

import math
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table as TextTable
from rich.text import Text

from nucleiseg.evaluation.leaderboard.board import Leaderboard, Row, Table
from nucleiseg.progress import counted, say

WIDTH = 160
"""Columns where the output is not a terminal, which would wrap the table at 80."""

METRICS = ("ap", "ap50", "ap50_100", "pq", "count_mae")
"""What is shown beside the metric that ranks, where it is not that itself."""

FACTS: dict[str, tuple[str, Callable[[float], str]]] = {
    "parameters": ("M weights", lambda count: f"{count / 1e6:.1f}"),
    "seconds_per_step": ("s/step", "{:.3g}".format),
    "seconds_per_image": ("s/image", "{:.3g}".format),
    "peak_memory_mb": ("peak MB", "{:,.0f}".format),
}
"""Key of a fact, the head of its column, and how it is written."""


def print_leaderboard(board: Leaderboard) -> None:
    """Print every table with what can be told from it, then the notes."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    for table in board.tables:
        console.print(_text_table(table))
        say(table.sentence)
    for note in board.notes:
        say(f"Note: {note}")


def _text_table(table: Table) -> TextTable:
    images = counted(len(table.images), "image")
    text = TextTable(
        title=f"{counted(len(table.rows), 'checkpoint')} on {images}, by {table.rank_by}",
        caption="* best   ~ cannot be told from the best",
        title_justify="left",
        caption_justify="left",
    )
    metrics = [key for key in METRICS if key != table.measure]
    facts = [key for key in FACTS if any(row.facts.get(key) is not None for row in table.rows)]
    text.add_column("", justify="right", no_wrap=True)
    text.add_column("setting")
    heads = ("step", table.measure, "95 %", *metrics, *(FACTS[key][0] for key in facts))
    for head in heads:
        text.add_column(head, justify="right", no_wrap=True)
    for row in table.rows:
        numbers = [_number(row.values.get(key, math.nan), digits=1 if key == "count_mae" else 4) for key in metrics]
        numbers += [_fact(row, key) for key in facts]
        cells = [_place(row), row.setting, _step(row), _number(row.values[table.measure]), _interval(row), *numbers]
        text.add_row(*map(Text, cells), style=_style(row))
    return text


def _place(row: Row) -> str:
    """Return the rank, with a star for the best and a tilde for those that cannot be told from it."""
    return f"{'*' if row.rank == 1 else '~' if row.tied else ''} {row.rank}".strip()


def _style(row: Row) -> str:
    return "bold" if row.rank == 1 else "" if not row.tied else "dim"


def _step(row: Row) -> str:
    return f"mean to {row.step}" if row.kind == "average" else str(row.step)


def _interval(row: Row) -> str:
    return "" if math.isnan(row.interval[0]) else f"{row.interval[0]:.4f} .. {row.interval[1]:.4f}"


def _number(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _fact(row: Row, key: str) -> str:
    value = row.facts.get(key)
    return FACTS[key][1](value) if isinstance(value, int | float) else "-"
