"""Write a leaderboard as `leaderboard.csv` with all numbers, `leaderboard.md` and `leaderboard.tex`."""

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

from nucleiseg.files import to_csv, write_text
from nucleiseg.leaderboard.board import Leaderboard, Row, Table
from nucleiseg.leaderboard.metrics import column_of
from nucleiseg.progress import counted
from nucleiseg.report.leaderboard_table import BRACKETS, Cell, TableColumn, leaderboard_table, row_values

INDISTINGUISHABLE = "statistically indistinguishable from the best row"

TIED = f"† {INDISTINGUISHABLE}: 0 lies in the 95 % interval of their difference (paired bootstrap)."

UNKNOWN = "† not distinguished from the best row: no interval of their difference could be computed, or 0 lies in it."

LATEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "&": r"\&",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "–": "--",
    "×": r"\texttimes{}",
    "µ": r"\textmu{}",
    "±": r"\textpm{}",
}
"""Characters with a meaning in LaTeX or missing from its fonts; brackets would be read as an option after a row."""


def write_tables(folder: Path, leaderboard: Leaderboard) -> None:
    """Write `leaderboard.csv`, `leaderboard.md` and `leaderboard.tex`, each whole or not at all."""
    write_csv(folder / "leaderboard.csv", leaderboard)
    write_text(folder / "leaderboard.md", to_markdown(leaderboard))
    write_text(folder / "leaderboard.tex", to_latex(leaderboard))


def write_csv(path: Path, leaderboard: Leaderboard) -> None:
    """Write every row with every number, to full precision; undefined and unknown cells are empty.

    The column `table` counts the tables from 1: rows of different tables were scored on different images. `measure` is
    the key that ranks the table; `leaderboard.columns` and `leaderboard.metrics` define the others. The runs and
    checkpoints of a row are separated by semicolons.
    """
    lines = [_csv_line(number, table, row) for number, table in enumerate(leaderboard.tables, 1) for row in table.rows]
    names = list(dict.fromkeys(chain.from_iterable(lines)))
    write_text(path, to_csv([names, *([line.get(name, "") for name in names] for line in lines)]))


def _csv_line(number: int, table: Table, row: Row) -> dict[str, str]:
    line: dict[str, object] = {
        "table": number,
        "measure": table.measure,
        **{key: "" if value is None else value for key, value in row_values(row).items()},
        "images": len(table.images),
        "runs": "; ".join(dict.fromkeys(candidate.run for candidate in row.candidates)),
        "checkpoints": "; ".join(str(candidate.checkpoint) for candidate in row.candidates),
    }
    return {key: str(value) for key, value in line.items()}


def to_markdown(leaderboard: Leaderboard) -> str:
    """Return the leaderboard as Markdown: the tables, each with its sentence, the notes, the definitions."""
    parts = ["# Leaderboard"]
    definitions: dict[str, str] = {}
    for number, table in enumerate(leaderboard.tables, 1):
        columns = leaderboard_table(table).compact()
        definitions |= {column.title: column.definition for column in columns if column.definition}
        if len(leaderboard.tables) > 1:
            parts.append(f"## Table {number}: {counted(len(table.images), 'image')}")
        lines = [
            [escape_markdown(column.title) for column in columns],
            ["---:" if column.is_number else ":---" for column in columns],
            *_lines(columns, escape_markdown, bold="**{}**", dagger=" †"),
        ]
        parts += [escape_markdown(table.sentence), "\n".join(f"| {' | '.join(line)} |" for line in lines)]
        if tied := [row for row in table.rows[1:] if row.tied]:
            parts.append(TIED if all(row.is_compared for row in tied) else UNKNOWN)
    if leaderboard.notes:
        parts.append("\n".join(f"- {escape_markdown(note)}" for note in leaderboard.notes))
    described = [f"- **{escape_markdown(name)}**: {escape_markdown(text)}" for name, text in definitions.items()]
    parts += ["## Definitions", "The best of each column is in bold.", "\n".join(described)]
    return "\n\n".join(parts) + "\n"


def to_latex(leaderboard: Leaderboard) -> str:
    """Return every table as a `table` environment of booktabs with the label `tab:leaderboard-1`, `-2`, ..."""
    parts = [r"% In the preamble: \usepackage{booktabs}"]
    for number, table in enumerate(leaderboard.tables, 1):
        columns = leaderboard_table(table).compact()
        measure = column_of(table.measure)
        images = counted(len(table.images), "validation image")
        caption = escape_latex(f"Ranked by {measure.heading} on {images}. {measure.definition} {BRACKETS}")
        caption += " Best of each column in bold."
        if any(row.tied for row in table.rows[1:]):
            caption += rf" $^\dagger$ {INDISTINGUISHABLE} (95\,\% paired bootstrap)."
        head = [escape_latex(column.title) for column in columns]
        lines = [head, *_lines(columns, escape_latex, bold=r"\textbf{{{}}}", dagger=r"$^\dagger$")]
        first, *rest = (f"    {' & '.join(line)} \\\\" for line in lines)
        alignment = "".join("r" if column.is_number else "l" for column in columns)
        environment = [
            r"\begin{table}",
            r"  \centering",
            r"  \small",
            rf"  \caption{{{caption}}}",
            rf"  \label{{tab:leaderboard-{number}}}",
            rf"  \begin{{tabular}}{{@{{}}{alignment}@{{}}}}",
            r"    \toprule",
            first,
            r"    \midrule",
            *rest,
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
        parts.append("\n".join(environment))
    return "\n\n".join(parts) + "\n"


def _lines(columns: list[TableColumn], escape: Callable[[str], str], *, bold: str, dagger: str) -> list[list[str]]:
    """Return the escaped cells of each row, the best of a column in bold, tied rows with a dagger."""

    def marked(cell: Cell) -> str:
        text = escape(cell.text)
        return (bold.format(text) if cell.is_best else text) + dagger * cell.is_tied

    return [list(map(marked, cells)) for cells in zip(*(column.cells for column in columns), strict=True)]


def escape_markdown(text: str) -> str:
    """Escape text so that Markdown shows it literally, on one line; underscores inside of words need no escape."""
    escaped = re.sub(r"([\\`*\[\]<>|#~&])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
    return " ".join(escaped.split())


def escape_latex(text: str) -> str:
    """Escape text so that LaTeX shows it literally, on one line."""
    pattern = "|".join(map(re.escape, LATEX_SPECIAL))
    return " ".join(re.sub(pattern, lambda match: LATEX_SPECIAL[match.group()], text).split())
