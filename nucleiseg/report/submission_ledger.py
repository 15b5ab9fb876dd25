"""Read and write `submissions.csv`, the ledger of answers and their scores on the board.

There is one row for each answer, identified by the digest of its `answer.json`. The file may be edited in a
spreadsheet: commas, semicolons (then with decimal commas) or tabs, a byte order mark, empty lines and additional
columns are accepted and preserved.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from nucleiseg.errors import InputError, raise_problems
from nucleiseg.files import quote_formula, require_regular_file, unquote_formula, write_text

SUBMISSIONS = "submissions.csv"

UNKNOWN = {"", "-", "n/a", "not recorded"}
"""Texts of a cell for an unknown number."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A row of `submissions.csv`; empty text and None stand for empty cells.

    Attributes:
        file: the answer's path, as it was given.
        answer_sha256: digest of `answer.json`, in the zip or beside it.
        run: name of the run's folder.
        step: optimizer steps done.
        checkpoint: its path, as it was given.
        checkpoint_sha256: digest of the checkpoint.
        config_digest: digest of the configuration (`writers.origin`).
        metric: key of the metric of `local_score`.
        local_score: the checkpoint's score on images with known truth.
        local_ceiling: the highest score possible on them, for a metric with a ceiling.
        image_set: digest of these images and their truth.
        images: number of these images.
        board_score: what the board returned.
        note: any text.
        time: when the row was added, in UTC, as ISO 8601.
        extra: additional columns of the user.
    """

    file: str = ""
    answer_sha256: str = ""
    run: str = ""
    step: int | None = None
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    config_digest: str = ""
    metric: str = ""
    local_score: float | None = None
    local_ceiling: float | None = None
    image_set: str = ""
    images: int | None = None
    board_score: float | None = None
    note: str = ""
    time: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


COLUMNS = tuple(item.name for item in fields(Submission) if item.name != "extra")
"""The columns of the file, in its order."""

LOCAL = ("metric", "local_score", "local_ceiling", "image_set", "images")
"""The columns on the checkpoint's score on images with known truth."""

_HINTS = get_type_hints(Submission)

NUMBERS = {name: int if _HINTS[name] == int | None else float for name in COLUMNS if _HINTS[name] is not str}
"""The columns that hold numbers, with their types."""


@dataclass(frozen=True)
class CsvForm:
    """Format of the file: delimiter, byte order mark (by which Excel recognizes UTF-8), additional columns."""

    delimiter: str = ","
    mark: str = ""
    extra: tuple[str, ...] = ()

    @property
    def decimal(self) -> str:
        """The decimal sign: a comma where spreadsheets separate cells by semicolons."""
        return "," if self.delimiter == ";" else "."


def read_submissions(path: Path) -> list[Submission]:
    """Read the rows of a ledger; none if the file is missing.

    Raises:
        InputError: naming every line that cannot be read.
    """
    return read_ledger(path)[0]


def read_ledger(path: Path) -> tuple[list[Submission], CsvForm]:
    """Read the rows of a ledger and its format; no rows and the default format if the file is missing.

    Raises:
        InputError: naming every line that cannot be read.
    """
    if not path.exists():
        return [], CsvForm()
    require_regular_file(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line} is not in UTF-8: save it from the spreadsheet as 'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows: list[Submission] = []
    problems: list[str] = []
    lines = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter, restval="")
    try:
        header = [name.strip() for name in lines.fieldnames or ()]
        names = [name for name in header if name]  # spreadsheets leave names at the end empty
        if not {"answer_sha256", "board_score"}.issubset(names) or len(set(names)) < len(names):
            raise InputError(
                f"{path} is not a ledger of submissions: its first line must name the columns {', '.join(COLUMNS)}."
            )
        lines.fieldnames = header
        form = CsvForm(delimiter, "\ufeff" * text.startswith("\ufeff"), tuple(n for n in names if n not in COLUMNS))
        for cells in lines:
            where = f"{path}, line {lines.line_num}"
            if None in cells:
                count = len(header) + len(cells[None])
                problems.append(
                    f"{where} has {count} cells, the first line {len(header)}: quote a text with a comma, and write "
                    "numbers with a decimal point."
                )
            elif any(cell.strip() for cell in cells.values()):
                rows.append(_parse_row(cells, form, where, problems))
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.reader.line_num} cannot be read as CSV ({error}).") from error
    raise_problems(problems)
    return rows, form


def _parse_row(cells: Mapping[str, str], form: CsvForm, where: str, problems: list[str]) -> Submission:
    """Return a row, and append a problem for each cell that should contain a number and does not."""
    values: dict[str, Any] = {name: unquote_formula(cells.get(name, "").strip()) for name in COLUMNS}
    for name, kind in NUMBERS.items():
        text, values[name] = values[name], None
        if text.lower() in UNKNOWN:
            continue
        try:
            value = float(text.replace(form.decimal, "."))
            if not math.isfinite(value) or (kind is int and value != int(value)):
                raise ValueError
            values[name] = kind(value)
        except ValueError:
            accepted = "a whole number such as 600" if kind is int else f"a number such as 0{form.decimal}2441"
            problems.append(f"{where}: {name} is {text!r}; it accepts {accepted}, or an empty cell.")
    return Submission(**values, extra={name: cells.get(name, "") for name in form.extra})


def write_ledger(path: Path, rows: Sequence[Submission], form: CsvForm) -> None:
    """Write a ledger, whole or not at all."""

    def cell(value: str | float | None) -> str:
        if isinstance(value, float):
            return repr(value).replace(".", form.decimal)
        return "" if value is None else quote_formula(str(value))

    text = io.StringIO()
    writer = csv.writer(text, delimiter=form.delimiter, lineterminator="\n")
    writer.writerow([*COLUMNS, *form.extra])
    for row in rows:
        own = (cell(getattr(row, name)) for name in COLUMNS)
        writer.writerow([*own, *(row.extra.get(name, "") for name in form.extra)])
    write_text(path, form.mark + text.getvalue())
