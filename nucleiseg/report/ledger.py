"""The ledger of uploads, `submissions.csv`: what was sent to a board, its local score, and what the board returned.

A row an answer, known by the digest of its `answer.json`: uploads of one file are one row.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nucleiseg.errors import InputError
from nucleiseg.report.ledger_file import LedgerRow, read_file, write_file
from nucleiseg.writers.origin import answer_digest, read_origin

__all__ = ["LedgerRow", "LocalScore", "read_ledger", "record_submission"]


@dataclass(frozen=True)
class LocalScore:
    """What an answer's checkpoint scored on images whose truth is known here.

    Attributes:
        metric: key of the metric in `Report.to_dict`.
        score: its value.
        ceiling: the most that any answer can get on these images, for a metric that has one.
        image_set: digest of these images and their truth.
        images: number of these images.
    """

    metric: str
    score: float
    ceiling: float | None = None
    image_set: str = ""
    images: int | None = None


def read_ledger(path: Path) -> list[LedgerRow]:
    """Read a ledger; an empty list where there is no file.

    Raises:
        InputError: naming the line of whatever cannot be understood.
    """
    return read_file(path)[0]


def record_submission(
    path: Path, answer: Path, board_score: float | None = None, note: str = "", local: LocalScore | None = None
) -> LedgerRow:
    """Add an answer to the ledger, or complete its row.

    Args:
        path: the ledger; made where missing.
        answer: an `answer.json`, or a zip with one in it. Its sidecar tells where it came from; without one those cells
            stay empty.
        board_score: what the board returned for it, once it did.
        note: replaces the row's note, unless empty.
        local: what its checkpoint scored here; replaces that of the row.

    Returns:
        The row as it stands in the file now.

    Raises:
        InputError: if the ledger cannot be read, the answer or its sidecar is not in order, or another score of the
            board stands there already.
    """
    rows, form = read_file(path)
    digest = answer_digest(answer)
    places = [place for place, row in enumerate(rows) if row.answer_sha256 == digest]
    if len(places) > 1:
        raise InputError(
            f"{path} has {len(places)} rows of {answer} (answer_sha256 {digest[:12]}...): keep one of them."
        )
    before = rows[places[0]] if places else _new_row(answer, digest)
    _refuse_other_score(path, before, board_score)
    given: dict[str, Any] = {"board_score": board_score, "note": note or None}
    if local is not None:
        given |= {"metric": local.metric, "local_score": local.score}
        before = replace(before, local_ceiling=local.ceiling, image_set=local.image_set, images=local.images)
    row = replace(before, **{key: value for key, value in given.items() if value is not None})
    if places:
        rows[places[0]] = row
    else:
        rows.append(row)
    write_file(path, rows, form)
    return row


def _new_row(answer: Path, digest: str) -> LedgerRow:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    row = LedgerRow(file=str(answer), answer_sha256=digest, time=now)
    origin = read_origin(answer)
    if origin is None:
        return row
    return replace(
        row,
        run=origin.run or "",
        step=origin.step,
        checkpoint=origin.checkpoint,
        checkpoint_sha256=origin.checkpoint_sha256,
        config_digest=origin.config_digest,
    )


def _refuse_other_score(path: Path, row: LedgerRow, score: float | None) -> None:
    if score is not None and row.board_score not in (None, score):
        raise InputError(
            f"{path} says that the board returned {row.board_score:g} for {row.file}; it is not overwritten with "
            f"{score:g}. If the old score is wrong, empty its cell first."
        )
