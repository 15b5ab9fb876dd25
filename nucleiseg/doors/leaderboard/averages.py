"""The mean of the weights of a run's best checkpoints, as one more entry."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nucleiseg.doors.leaderboard.cache import Evaluation, EvaluationCache
from nucleiseg.doors.leaderboard.candidates import Fail, Job, Scored, prediction_key
from nucleiseg.errors import InputError
from nucleiseg.evaluation.leaderboard.board import Table
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.progress import say

WRITTEN = "written"
"""What the cache calls the digest of the file that an average was written to."""


def average_best(
    table: Table,
    scored: Sequence[Scored],
    count: int,
    folder: Path,
    settings: PredictionSettings,
    cache: EvaluationCache,
    fail: Fail,
) -> list[Scored]:
    """Average the weights of the best steps of the best setting, each of its runs by itself.

    The steps are the same for all seeds and folds, so that their averages are one row again.

    Args:
        table: its first row's setting is averaged.
        scored: all evaluated checkpoints.
        count: how many steps.
        folder: where `average_COUNT.ckpt` is written (with the run's name, where there are several).
        settings: how the averages predict.
        cache: of evaluations.
        fail: told of averages that cannot be made.

    Returns:
        The evaluated averages, one a run.
    """
    best = table.rows[0].candidates
    keys = {candidate.setting_key for candidate in best}
    steps = [row.step for row in table.rows if {candidate.setting_key for candidate in row.candidates} == keys][:count]
    if len(steps) < 2:
        say(f"{table.rows[0].setting} has one ranked step only: there is nothing to average.")
        return []
    runs = list(dict.fromkeys(candidate.run for candidate in best))
    averages = []
    for name in runs:
        parts = [one for one in scored if one.job.run.name == name and one.job.step in steps]
        suffix = "" if len(runs) == 1 else f"_{name.replace('/', '_')}"
        try:
            averages.append(_average(parts, folder / f"average_{count}{suffix}.ckpt", settings, cache))
        except InputError as error:
            fail(f"The best checkpoints of {name} cannot be averaged: {error}")
    return averages


def _average(parts: Sequence[Scored], file: Path, settings: PredictionSettings, cache: EvaluationCache) -> Scored:
    """Return the evaluated average, from the cache and the file as far as they are what would be made."""
    latest = max((part.job for part in parts), key=lambda job: job.step)
    digests = " ".join(cache.digest(part.job.file) for part in parts)
    key = cache.key(f"mean of {digests}", latest.images.digest, prediction_key(settings))
    job = replace(latest, file=file, key=key, kind="average")
    known = cache.get(key)
    if known is not None and file.is_file() and cache.get_json(key, WRITTEN) == cache.digest(file):
        return Scored(job, known)
    evaluation = _write_average([part.job.file for part in parts], job, settings, known)
    cache.put(key, evaluation)
    cache.put_json(key, WRITTEN, cache.digest(file))
    return Scored(job, evaluation)


def _write_average(
    files: Sequence[Path], job: Job, settings: PredictionSettings, known: Evaluation | None
) -> Evaluation:
    """Write an average with the score threshold that is chosen for it, evaluating it where nobody has."""
    from nucleiseg.doors.leaderboard.scoring import score_checkpoint
    from nucleiseg.models.averaging import average_checkpoints, averages_statistics
    from nucleiseg.models.checkpoint import write

    weights, metadata = average_checkpoints(files)
    if averages_statistics(weights):
        say(
            "Note: the running statistics of batch normalisation are averaged too; they are not those of the averaged "
            "weights (model.norm=gn or frozen_bn has none)."
        )
    if known is None:
        write(job.file, weights, metadata)
        known = score_checkpoint(job.file, job.images, settings)
    threshold = known.facts.chosen_threshold
    write(job.file, weights, replace(metadata, score_threshold=threshold))
    return replace(known, facts=replace(known.facts, stored_threshold=threshold))
