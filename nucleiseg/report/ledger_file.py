"""The file of a ledger, as spreadsheets write it and as we do.

People enter what a board said with Excel or the like: with commas, or with semicolons and decimal commas; with or
without a byte order mark; with empty lines; with columns of their own. A file is written back in its own form.
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

UNKNOWN = {"", "-", "n/a", "not recorded"}
"""What people write into a cell whose number they do not know."""


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A row of the ledger; empty text and None stand for empty cells.

    Attributes:
        file: the answer's path, as it was given.
        answer_sha256: digest of `answer.json`, in the zip or beside it.
        run: name of the run's folder.
        step: optimiser steps done.
        checkpoint: its path, as it was given.
        checkpoint_sha256: digest of the checkpoint.
        config_digest: digest of the configuration (`writers.origin`).
        metric: key of the metric that `local_score` is of.
        local_score: on the images whose truth is known here.
        local_ceiling: the most that any answer can get on them.
        image_set: digest of these images and their truth.
        images: number of these images.
        board_score: what the board returned.
        note: anything.
        time: when the row was added, in UTC, as ISO 8601.
        extra: columns of the user's own.
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


COLUMNS = tuple(item.name for item in fields(LedgerRow) if item.name != "extra")
"""The columns of the file, in its order."""

_HINTS = get_type_hints(LedgerRow)
NUMBERS = {name: int if _HINTS[name] == int | None else float for name in COLUMNS if _HINTS[name] is not str}
"""The columns that hold numbers, with their types."""


@dataclass(frozen=True)
class Form:
    """How a file is written: its delimiter, the byte order mark that Excel knows UTF-8 by, and the user's columns."""

    delimiter: str = ","
    mark: str = ""
    extra: tuple[str, ...] = ()

    @property
    def decimal(self) -> str:
        """The decimal sign: where it is a comma, spreadsheets separate cells by semicolons."""
        return "," if self.delimiter == ";" else "."


def read_file(path: Path) -> tuple[list[LedgerRow], Form]:
    """Read a ledger: its rows, and how it is written; none, and our own form, where there is no file.

    Raises:
        InputError: naming the line of whatever cannot be understood.
    """
    if not path.exists():
        return [], Form()
    text = _read_text(path)
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    lines = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter)
    rows: list[LedgerRow] = []
    problems: list[str] = []
    try:
        header = next(lines, [])
        columns = _columns(header, path)
        extra = tuple(name for name in columns if name and name not in COLUMNS)
        form = Form(delimiter, "\ufeff" * text.startswith("\ufeff"), extra)
        for cells in lines:
            where = f"{path}, line {lines.line_num}"
            if len(cells) > len(header):
                problems.append(_too_long(where, cells, header))
            elif any(cell.strip() for cell in cells):
                rows.append(_row(dict(zip(columns, cells, strict=False)), form, where, problems))
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.line_num} cannot be read as CSV ({error}).") from error
    raise_problems(problems)
    return rows, form


def _columns(cells: Sequence[str], path: Path) -> list[str]:
    """Return the names in the first line, without those that spreadsheets leave empty at its end."""
    columns = [name.strip() for name in cells]
    while columns and not columns[-1]:
        columns.pop()
    if not {"answer_sha256", "board_score"}.issubset(columns) or len(set(columns)) < len(columns):
        raise InputError(f"{path} is no ledger of uploads: its first line must name the columns {', '.join(COLUMNS)}.")
    return columns


def _read_text(path: Path) -> str:
    require_regular_file(path)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}: its letters are not in UTF-8. Save it from the spreadsheet as 'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error


def _too_long(where: str, cells: Sequence[str], header: Sequence[str]) -> str:
    return (
        f"{where} has {len(cells)} cells, the first line {len(header)}: a text with a comma belongs in quotation "
        "marks, and a number is written with a decimal point."
    )


def _row(cells: Mapping[str, str], form: Form, where: str, problems: list[str]) -> LedgerRow:
    """Return a row; a cell that should be a number and is none becomes a problem."""
    values: dict[str, Any] = {name: unquote_formula(cells.get(name, "").strip()) for name in COLUMNS}
    for name, kind in NUMBERS.items():
        text = values[name]
        try:
            values[name] = None if text.lower() in UNKNOWN else _number(text, kind, form.decimal)
        except ValueError:
            values[name] = None
            accepted = f"a {'whole ' * (kind is int)}number such as {'600' if kind is int else f'0{form.decimal}2441'}"
            problems.append(f"{where}: {name} is {text!r}; accepted is {accepted}, or an empty cell.")
    return LedgerRow(**values, extra={name: cells.get(name, "") for name in form.extra})


def _number(text: str, kind: type[int] | type[float], decimal: str) -> int | float:
    """Parse a finite number; a decimal comma is taken where the file's form has one."""
    value = float(text.replace(decimal, "."))
    if not math.isfinite(value) or (kind is int and value != int(value)):
        raise ValueError(text)
    return kind(value)


def write_file(path: Path, rows: Sequence[LedgerRow], form: Form) -> None:
    """Write a ledger, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=form.delimiter, lineterminator="\n")
    writer.writerow([*COLUMNS, *form.extra])
    for row in rows:
        cells = [_text(getattr(row, name), form.decimal) for name in COLUMNS]
        writer.writerow([*cells, *(row.extra.get(name, "") for name in form.extra)])
    write_text(path, form.mark + text.getvalue())


def _text(value: str | float | None, decimal: str) -> str:
    if isinstance(value, float):
        return repr(value).replace(".", decimal)
    return "" if value is None else quote_formula(str(value))
