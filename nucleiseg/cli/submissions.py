"""The upload that a call remembers, with what its checkpoint scores on the leaderboard's images."""

from collections.abc import Sequence
from pathlib import Path

from nucleiseg.cli.leaderboard_keys import LeaderboardKeys
from nucleiseg.leaderboard.best import source_of
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.metrics import CEILING, Metric
from nucleiseg.leaderboard.scored_candidates import Scored
from nucleiseg.progress import say
from nucleiseg.report.ledger import LocalScore, read_ledger, record_submission
from nucleiseg.writers.origin import read_origin

SUBMISSIONS = "submissions.csv"


def check_upload(settings: LeaderboardKeys, folder: Path) -> None:
    """Read what an upload needs, before hours of predicting.

    Args:
        settings: `submitted`.
        folder: where the ledger lies.

    Raises:
        InputError: if the file is no answer, or its sidecar or the ledger is not in order.
    """
    read_ledger(folder / SUBMISSIONS)
    if settings.submitted is not None:
        read_origin(Path(settings.submitted))


def remember_upload(
    settings: LeaderboardKeys, folder: Path, scored: Sequence[Scored], metric: Metric, cache: EvaluationCache
) -> None:
    """Write the upload that the keys tell of into `submissions.csv`; nothing where they tell of none.

    Args:
        settings: `submitted`, `board_score` and `note`.
        folder: where the ledger lies.
        scored: the evaluated checkpoints, one of which may have made the upload.
        metric: whose local score stands beside the board's.
        cache: knows the digests of files.

    Raises:
        InputError: if the file is no answer, or the ledger says otherwise already.
    """
    if settings.submitted is None:
        return
    answer = Path(settings.submitted)
    origin = read_origin(answer)
    digests = {cache.digest(one.job.file): one for one in scored}
    digest = "" if origin is None else origin.checkpoint_sha256
    maker = digests.get(source_of(digest, cache))
    if maker is None:
        say(
            f"{answer} was made by none of these checkpoints, as far as can be told: it is noted without a local score."
        )
    local = None if maker is None else _local(maker, metric)
    row = record_submission(folder / SUBMISSIONS, answer, settings.board_score, settings.note, local)
    board = "no score of the board yet" if row.board_score is None else f"the board's score {row.board_score:g}"
    say(f"{folder / SUBMISSIONS} remembers {answer} with {board}.")


def _local(maker: Scored, metric: Metric) -> LocalScore | None:
    """Return what the checkpoint scored here, beside the most that can be scored; None where it is undefined."""
    record = maker.evaluation.record
    score = record.report[metric.key]
    ceiling = record.report[CEILING] if metric.has_ceiling else None
    images = maker.job.images.digest
    return None if score is None else LocalScore(metric.key, score, ceiling, images, len(record.images))
