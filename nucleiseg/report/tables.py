"""A leaderboard as files: `leaderboard.csv` with all numbers, `leaderboard.md` and `leaderboard.tex` for people."""

import re
from itertools import chain
from pathlib import Path

from nucleiseg.files import to_csv, write_text
from nucleiseg.leaderboard.board import Leaderboard, Row, Table
from nucleiseg.leaderboard.columns import cells
from nucleiseg.progress import counted
from nucleiseg.report.latex import to_latex
from nucleiseg.report.table_cells import TextCell, definitions, text_columns

TIED = "† cannot be told from the best row: 0 lies in the 95 % interval of their difference (paired bootstrap)."

UNKNOWN = "† cannot be told from the best row: no interval of their difference could be computed, or 0 lies in it."


def write_tables(folder: Path, leaderboard: Leaderboard) -> None:
    """Write `leaderboard.csv`, `leaderboard.md` and `leaderboard.tex`, each whole or not at all."""
    write_csv(folder / "leaderboard.csv", leaderboard)
    write_text(folder / "leaderboard.md", to_markdown(leaderboard))
    write_text(folder / "leaderboard.tex", to_latex(leaderboard))


def write_csv(path: Path, leaderboard: Leaderboard) -> None:
    """Write every row with every number, to full precision; what is undefined or unknown stays empty.

    The column `table` counts the tables from 1: rows of different tables were scored on different images. `measure` is
    what the table is ranked by; `evaluation.leaderboard.columns` tells of the others. The runs and checkpoints behind a
    row are separated by semicolons.
    """
    lines = [_csv_line(number, table, row) for number, table in enumerate(leaderboard.tables, 1) for row in table.rows]
    names = list(dict.fromkeys(chain.from_iterable(lines)))
    write_text(path, to_csv([names, *([line.get(name, "") for name in names] for line in lines)]))


def _csv_line(number: int, table: Table, row: Row) -> dict[str, str]:
    line: dict[str, object] = {
        "table": number,
        "measure": table.measure,
        **{column.key: "" if value is None else value for column, value in cells(row)},
        "images": len(table.images),
        "runs": "; ".join(dict.fromkeys(candidate.run for candidate in row.candidates)),
        "checkpoints": "; ".join(str(candidate.checkpoint) for candidate in row.candidates),
    }
    return {key: str(value) for key, value in line.items()}


def to_markdown(leaderboard: Leaderboard) -> str:
    """Return the leaderboard as Markdown: the tables with what they tell, the notes, the definitions."""
    several = len(leaderboard.tables) > 1
    parts = ["# Leaderboard"]
    for number, table in enumerate(leaderboard.tables, 1):
        if several:
            parts.append(f"## Table {number}: {counted(len(table.images), 'image')}")
        parts += [escape_markdown(table.sentence), _markdown_table(table)]
        if tied := [row for row in table.rows[1:] if row.tied]:
            parts.append(TIED if all(row.is_compared for row in tied) else UNKNOWN)
    if leaderboard.notes:
        parts.append("\n".join(f"- {escape_markdown(note)}" for note in leaderboard.notes))
    meanings = definitions(column for table in leaderboard.tables for column in text_columns(table))
    lines = [f"- **{escape_markdown(name)}**: {escape_markdown(text)}" for name, text in meanings.items()]
    parts += ["## Definitions", "The best of each column is in bold.", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: Table) -> str:
    shown = text_columns(table)
    rows = [
        [escape_markdown(column.head) for column in shown],
        ["---:" if column.is_number else ":---" for column in shown],
        *([_markdown_cell(cell) for cell in line] for line in zip(*(column.cells for column in shown), strict=True)),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _markdown_cell(cell: TextCell) -> str:
    text = escape_markdown(cell.text) + " †" * cell.is_tied
    return f"**{text}**" if cell.is_best else text


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line; underscores inside of words need no escape."""
    escaped = re.sub(r"([\\`*\[\]<>|#~&])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
    return " ".join(escaped.split())
