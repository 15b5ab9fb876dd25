"""A leaderboard as LaTeX tables with booktabs, each with a caption that says what its numbers are."""

import re

from nucleiseg.leaderboard.board import Leaderboard, Table
from nucleiseg.leaderboard.columns import metric_column
from nucleiseg.progress import counted
from nucleiseg.report.table_cells import BRACKETS, TextCell, TextColumn, text_columns

SPECIAL = {
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
"""Characters that LaTeX reads as commands, that its old fonts lack, or (brackets) that would end a row's option."""

TIED = r"$^\dagger$ cannot be told from the best row (95\,\% paired bootstrap)."


def to_latex(leaderboard: Leaderboard) -> str:
    """Return every table as a `table` environment with the label `tab:leaderboard-1`, `-2`, ..."""
    parts = [r"% In the preamble: \usepackage{booktabs}"]
    parts += [_latex_table(table, number) for number, table in enumerate(leaderboard.tables, 1)]
    return "\n\n".join(parts) + "\n"


def escape_latex(text: str) -> str:
    """Return text that LaTeX shows as it is, on one line."""
    pattern = "|".join(map(re.escape, SPECIAL))
    return " ".join(re.sub(pattern, lambda match: SPECIAL[match.group()], text).split())


def _latex_table(table: Table, number: int) -> str:
    shown = text_columns(table)
    rows = [[_cell(cell) for cell in cells] for cells in zip(*(column.cells for column in shown), strict=True)]
    return "\n".join(
        [
            r"\begin{table}",
            r"  \centering",
            r"  \small",
            rf"  \caption{{{_caption(table)}}}",
            rf"  \label{{tab:leaderboard-{number}}}",
            rf"  \begin{{tabular}}{{@{{}}{''.join(map(_alignment, shown))}@{{}}}}",
            r"    \toprule",
            _line([escape_latex(column.head) for column in shown]),
            r"    \midrule",
            *map(_line, rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _caption(table: Table) -> str:
    images = counted(len(table.images), "validation image")
    measure = metric_column(table.measure)
    words = f"Ranked by {measure.heading} on {images}. {measure.definition} {BRACKETS}"
    tied = f" {TIED}" if any(row.tied for row in table.rows[1:]) else ""
    return f"{escape_latex(words)} Best of each column in bold.{tied}"


def _alignment(column: TextColumn) -> str:
    return "r" if column.is_number else "l"


def _line(cells: list[str]) -> str:
    return f"    {' & '.join(cells)} \\\\"


def _cell(cell: TextCell) -> str:
    text = escape_latex(cell.text)
    return (rf"\textbf{{{text}}}" if cell.is_best else text) + r"$^\dagger$" * cell.is_tied
