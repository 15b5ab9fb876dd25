"""The tables of a run, `metrics.csv` and `index.csv`: their columns, and validated reading.

    rows = read_index(Path("runs/a"))     # errors name the file and the line
    checkpoint = find_checkpoint(Path("runs/a"))

They are written by `nucleiseg.training.tables`.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.progress import echo
from nucleiseg.run_folder import INDEX, METRICS, read_text, require_inside
from nucleiseg.shipped_weights import SHIPPED_WEIGHTS

STEP_CHECKPOINT = re.compile(r"checkpoints/step_([0-9]{6,12})\.ckpt")
"""Accepted paths in `index.csv`: step checkpoints of the run."""

INDEX_COLUMNS = ("step", "path", "time", "train/loss", "val/loss", "val/ap50", "val/ap50_100")

STEP = re.compile(r"[1-9][0-9]{0,11}")
NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.IGNORECASE)
NOT_FINITE = ("inf", "-inf", "nan")

Row = dict[str, str]


def loss_columns(part: str, losses: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a network's losses: their sum, then each.

    Args:
        part: `train` or `val`.
        losses: `MaskRCNN.loss_names`.
    """
    return (f"{part}/loss", *(f"{part}/{name}" for name in losses))


def metrics_columns(losses: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of `metrics.csv` for a network with these losses."""
    train, val = loss_columns("train", losses), loss_columns("val", losses)
    return ("step", *train, "lr", "time/step", "time/data", *val, "val/ap50", "val/ap50_100", "val/time")


def read_index(run_dir: Path) -> list[Row]:
    """Read `index.csv`, which is always written as a whole; no rows if it is missing.

    Returns:
        The rows in ascending steps, each with the path of a step checkpoint within the run's folder.

    Raises:
        InputError: if it is cut off, or a row is damaged or has another path.
    """
    path = run_dir / INDEX
    rows = list(_read_rows(path, whole=True))
    for line, row in rows:
        name = STEP_CHECKPOINT.fullmatch(row.get("path", ""))
        if name is None or int(name[1]) != int(row["step"]):
            raise _damaged(path, line, f"path is {row.get('path')!r}, not checkpoints/step_{int(row['step']):06d}.ckpt")
        for column in row.keys() & set(INDEX_COLUMNS) - {"step", "path", "time"}:
            cell = row[column]
            is_share = column.startswith("val/ap")
            value = float(cell) if NUMBER.fullmatch(cell) else math.nan
            if cell and not (0 <= value <= 1 if is_share else math.isfinite(value)):
                accepted = "a number from 0 to 1" if is_share else "a finite number"
                raise _damaged(path, line, f"{column} is {cell!r}, not {accepted}")
        require_inside(run_dir, row["path"])
    return [row for _, row in rows]


def read_metrics(run_dir: Path, until: int | None = None, report: Callable[[str], None] | None = None) -> list[Row]:
    """Read `metrics.csv`, whose last row may be cut off; no rows if it is missing.

    Losses of a diverged run remain `inf` or `nan`.

    Args:
        run_dir: the run's folder.
        until: the last step to read; None: all.
        report: called with a sentence on a damaged row, before which the rows end; None: raise.

    Returns:
        The rows in ascending steps.

    Raises:
        InputError: if the file or a row is damaged.
    """
    path = run_dir / METRICS
    rows: list[Row] = []
    try:
        for line, row in _read_rows(path, whole=False):
            if until is not None and int(row["step"]) > until:
                break
            for column, cell in row.items():
                if cell and cell not in NOT_FINITE and not NUMBER.fullmatch(cell):
                    raise _damaged(path, line, f"{column} is {cell!r}, not a number")
            rows.append(row)
            if int(row["step"]) == until:
                break
    except InputError as error:
        if report is None:
            raise
        report(f"{error} The rows before it are used.")
    return rows


def find_checkpoint(path: Path) -> Path:
    """Return a checkpoint file: the path itself, or in a run's folder the step with the best `val/ap50`.

    Without validation it is the last step. The name of shipped weights (`nuclei`) gives their file, unless a file or
    folder has that name.

    Raises:
        InputError: if the folder is not one of a run with a checkpoint, or its index is damaged.
    """
    if not path.is_dir():
        return path if path.exists() else SHIPPED_WEIGHTS.get(str(path), path)
    rows = read_index(path)
    if not rows:
        raise InputError(f"checkpoint={path} is a folder without {INDEX}; name a run, or a file of its checkpoints.")
    best = max(rows, key=lambda row: (float(row.get("val/ap50") or -1), int(row["step"])))
    score = best.get("val/ap50")
    why = f"the best of {path} by val/ap50 ({float(score):.4f})" if score else f"the last of {path}: none was validated"
    echo(f"Using {best['path']}, {why}.")
    return path / best["path"]


def _read_rows(path: Path, *, whole: bool) -> Iterator[tuple[int, Row]]:
    """Yield the line and the cells of each row of a table, whose column `step` ascends.

    Args:
        path: a CSV file; a missing one has no rows.
        whole: the file was written as a whole, so that a cut-off last line or an empty table is damage.
    """
    if not path.exists() and not path.is_symlink():
        return
    text = read_text(path)
    lines = text[: text.rfind("\n") + 1]
    if whole and (len(lines) < len(text) or not text):
        raise _damaged(path, text.count("\n") + 1, "it is cut off" if text else "it is empty")
    reader = csv.DictReader(io.StringIO(lines), strict=True)
    before = 0
    try:
        columns = reader.fieldnames or []
        if lines and ("step" not in columns or len(set(columns)) < len(columns)):
            raise _damaged(path, 1, f"the columns are {', '.join(columns)[:100]!r}: without step, or one twice")
        for row in reader:
            if None in row or None in row.values():
                raise _damaged(path, reader.line_num, f"it does not have the {len(columns)} cells of the first line")
            if not STEP.fullmatch(row["step"]):
                raise _damaged(path, reader.line_num, f"step is {row['step']!r}, not a whole number from 1")
            if int(row["step"]) <= before:
                raise _damaged(path, reader.line_num, f"step {row['step']} follows step {before}")
            before = int(row["step"])
            yield reader.line_num, row
    except csv.Error as error:
        raise _damaged(path, reader.line_num, str(error)) from error
    if whole and not before:
        raise _damaged(path, 2, "there is no row")


def _damaged(path: Path, line: int, reason: str) -> InputError:
    return InputError(f"{path}, line {line} is damaged ({reason}): restore the file, or correct or remove that line.")


class Curve(NamedTuple):
    """A number along the steps of a run.

    Attributes:
        steps: (P,) float64, optimizer steps done, ascending.
        values: (P,) float64, finite.
    """

    steps: np.ndarray
    values: np.ndarray


def read_curve(rows: Sequence[Mapping[str, str]], column: str) -> Curve:
    """Read a column of `metrics.csv` or `index.csv`, without its empty, unreadable and infinite cells."""
    points = [(_number(row.get("step")), _number(row.get(column))) for row in rows]
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return Curve(*table[np.argsort(table[:, 0], kind="stable")].T)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
