"""The CSV files of a run: written whole, appended row by row, and cut back to a step."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from nucleiseg.files import naming, read_rows, write_text

Row = Mapping[str, str]


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a CSV file, whole or not at all; columns that a row lacks stay empty."""
    write_text(path, _text(columns, rows, header=True))


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Row], *, sync: bool = False) -> None:
    """Add rows at the end of a CSV file, which is made with its header where missing.

    Args:
        path: the file.
        columns: of the file.
        rows: what to add.
        sync: have all rows, earlier ones too, on the disk before it returns.

    Raises:
        OSError: naming the file, which is left as it was.
    """
    text = _text(columns, rows, header=not path.exists())
    with naming(path), path.open("ab") as file:
        size = file.tell()
        try:
            file.write(text.encode())
            file.flush()
            if sync:
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                os.truncate(path, size)  # a row cut in two by a full disk would spoil the next one
            raise


def cut_rows(path: Path, step: int) -> None:
    """Drop the rows whose `step` is greater; a file left without rows is deleted."""
    rows = [row for row in read_rows(path) if int(row["step"]) <= step]
    if rows:
        write_rows(path, list(rows[0]), rows)
    else:
        path.unlink(missing_ok=True)


def _text(columns: Sequence[str], rows: Sequence[Row], *, header: bool) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()
