"""Record submissions to a board in `submissions.csv`: the file, its local score, and the score that the board returned.

    record_submission(Path("submissions.csv"), Path("answer.zip"), board_score=0.2446)

`submission_ledger` reads and writes the file.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.leaderboard.best import source_digest
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.candidates import Scored
from nucleiseg.leaderboard.entries import metric_values
from nucleiseg.leaderboard.metrics import CEILING, MetricSpec
from nucleiseg.progress import echo
from nucleiseg.report.submission_ledger import LOCAL, Submission, read_ledger, write_ledger
from nucleiseg.writers.origin import answer_digest, read_origin


def record_scored(
    path: Path,
    answer: Path,
    board_score: float | None,
    note: str,
    scored: Sequence[Scored],
    metric: MetricSpec,
    cache: EvaluationCache,
) -> None:
    """Record an answer with the local score of its checkpoint, and print a summary.

    Args:
        path: the ledger.
        answer: an `answer.json`, or a zip that holds one.
        board_score: see `record_submission`.
        note: see `record_submission`.
        scored: the evaluated checkpoints, among them perhaps the answer's.
        metric: of the local score.
        cache: stores the digests of files.

    Raises:
        InputError: see `record_submission`.
    """
    origin = read_origin(answer)
    digest = source_digest("" if origin is None else origin.checkpoint_sha256, cache)
    maker = {cache.digest(item.job.file): item for item in scored}.get(digest)
    local = None
    if maker is None:
        echo(f"{answer} was not made by any of these checkpoints: recorded without a local score.")
    else:
        record = maker.evaluation.record
        values = metric_values(record)
        if not math.isnan(score := values[metric.key]):
            ceiling = values[CEILING] if metric.has_ceiling else None
            local = Submission(
                metric=metric.key,
                local_score=score,
                local_ceiling=ceiling,
                image_set=maker.job.images.digest,
                images=len(record.images),
            )
    row = record_submission(path, answer, board_score, note, local)
    board = "without a score of the board" if row.board_score is None else f"with the board's score {row.board_score:g}"
    echo(f"Recorded {answer} in {path} {board}.")


def record_submission(
    path: Path, answer: Path, board_score: float | None = None, note: str = "", local: Submission | None = None
) -> Submission:
    """Add an answer to the ledger, or complete its row.

    Args:
        path: the ledger; created if missing.
        answer: an `answer.json`, or a zip that holds one. Run and checkpoint are read from its sidecar; without one
            their cells stay empty.
        board_score: what the board returned for it; None leaves the cell as it is.
        note: replaces the row's note, unless empty.
        local: its `LOCAL` columns replace those of the row.

    Returns:
        The row as it is in the file now.

    Raises:
        InputError: if the ledger cannot be read, the answer or its sidecar is invalid, or the row already has another
            board score.
    """
    rows, form = read_ledger(path)
    digest = answer_digest(answer)
    places = [place for place, row in enumerate(rows) if row.answer_sha256 == digest]
    if len(places) > 1:
        raise InputError(
            f"{path} has {len(places)} rows of {answer} (answer_sha256 {digest[:12]}...): keep one of them."
        )
    if places:
        row = rows[places[0]]
    else:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = Submission(file=str(answer), answer_sha256=digest, time=now)
        if origin := read_origin(answer):
            names = ("step", "checkpoint", "checkpoint_sha256", "config_digest")
            row = replace(row, run=origin.run or "", **{name: getattr(origin, name) for name in names})
    if board_score is not None and row.board_score not in (None, board_score):
        raise InputError(
            f"{path} has the board's score {row.board_score:g} for {row.file}, which is not overwritten with "
            f"{board_score:g}. If the old score is wrong, empty its cell first."
        )
    if local is not None:
        row = replace(row, **{name: getattr(local, name) for name in LOCAL})
    row = replace(row, board_score=row.board_score if board_score is None else board_score, note=note or row.note)
    place = places[0] if places else len(rows)
    write_ledger(path, [*rows[:place], row, *rows[place + 1 :]], form)
    return row
