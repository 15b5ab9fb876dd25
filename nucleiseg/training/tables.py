"""Write the tables of a run, whole or by appending rows."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from nucleiseg.files import naming, to_csv, write_text


def as_text(row: Mapping[str, float]) -> dict[str, str]:
    """Return the shortest decimals that round trip, to float32 for the training losses; seconds as four digits."""
    seconds = {key: f"{value:.4g}" for key, value in row.items() if "time" in key}
    losses = {key: str(np.float32(value)) for key, value in row.items() if key.startswith("train/")}
    return {key: str(value) for key, value in row.items()} | losses | seconds


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Write a CSV file, whole or not at all; columns that a row lacks stay empty."""
    write_text(path, _text(columns, rows, header=True))


def append_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]], *, sync: bool = False) -> None:
    """Add rows at the end of a CSV file, which is made with its header where missing.

    Args:
        path: the file.
        columns: of the file.
        rows: the new rows.
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


def _text(columns: Sequence[str], rows: Sequence[Mapping[str, str]], *, header: bool) -> str:
    lines = [[row.get(column, "") for column in columns] for row in rows]
    return to_csv([columns, *lines] if header else lines)
