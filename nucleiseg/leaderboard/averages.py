"""The mean of the weights of a run's best checkpoints, as one more entry."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from nucleiseg.errors import InputError
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.leaderboard.board import Table
from nucleiseg.leaderboard.cache import Evaluation, EvaluationCache
from nucleiseg.leaderboard.scored_candidates import Fail, Job, Scored, prediction_key
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

    The steps are the same for all seeds and folds, so that their averages are one row again: steps that one of the runs
    lacks are left out.

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
    key = best[0].setting_key
    mine = [row for row in table.rows if row.candidates[0].setting_key == key]
    runs = list(dict.fromkeys(candidate.run for candidate in best))
    steps = [row.step for row in mine if {candidate.run for candidate in row.candidates}.issuperset(runs)][:count]
    if len(mine) < 2:
        say(f"{table.rows[0].setting} has one ranked step only: there is nothing to average.")
        return []
    if len(steps) < 2:
        fail(
            f"{table.rows[0].setting} is not averaged: only step {steps[0]} is ranked for all of {', '.join(runs)}. "
            "Save checkpoints at the same steps (checkpoint.every), or wait for the runs to end."
        )
        return []
    averages = []
    for name, file in zip(runs, file_names(runs, count), strict=True):
        parts = [one for one in scored if one.job.run.name == name and one.job.step in steps]
        try:
            averages.append(_average(parts, folder / file, settings, cache))
        except InputError as error:
            fail(f"The best checkpoints of {name} cannot be averaged: {error}")
    return averages


def file_names(runs: Sequence[str], count: int) -> list[str]:
    """Name the averages of runs: with the run's name where there are several, with a digest where names would clash.

    Args:
        runs: names of the runs, which may hold slashes.
        count: of how many steps each is the mean.
    """
    if len(runs) == 1:
        return [f"average_{count}.ckpt"]
    flat = [name.replace("/", "_") for name in runs]
    clashes = Counter(name.casefold() for name in flat)  # a and A are one file on Windows and macOS
    digests = [hashlib.sha256(name.encode()).hexdigest()[:8] for name in runs]
    names = [
        name if clashes[name.casefold()] == 1 else f"{name}_{digest}"
        for name, digest in zip(flat, digests, strict=True)
    ]
    return [f"average_{count}_{name}.ckpt" for name in names]


def _average(parts: Sequence[Scored], file: Path, settings: PredictionSettings, cache: EvaluationCache) -> Scored:
    """Return the evaluated average, from the cache and the file as far as they are what would be made."""
    latest = max((part.job for part in parts), key=lambda job: job.step)
    digests = " ".join(cache.digest(part.job.file) for part in parts)
    key = cache.key(f"mean of {digests}", latest.images.digest, prediction_key(settings, latest.images))
    job = replace(latest, file=file, key=key, kind="average")
    known = cache.get(key)
    if known is not None and file.is_file() and cache.get_json(key, WRITTEN) == cache.digest(file):
        return Scored(job, known)
    evaluation = _write_average(parts, job, settings, known)
    cache.put(key, evaluation)
    cache.put_json(key, WRITTEN, cache.digest(file))
    return Scored(job, evaluation)


def _write_average(
    parts: Sequence[Scored], job: Job, settings: PredictionSettings, known: Evaluation | None
) -> Evaluation:
    """Write an average with its score threshold, evaluating it where nobody has.

    The threshold is the one chosen on validation images; where it is scored on others, the mean of its parts' own ones.
    """
    from nucleiseg.leaderboard.scoring import score_checkpoint
    from nucleiseg.models.averaging import average_checkpoints, averages_statistics
    from nucleiseg.models.checkpoint import write

    weights, metadata = average_checkpoints([part.job.file for part in parts])
    if averages_statistics(weights):
        say(
            "Note: the running statistics of batch normalisation are averaged too; they are not those of the averaged "
            "weights (model.norm=gn or frozen_bn has none)."
        )
    stored = [value for part in parts if (value := part.evaluation.facts.stored_threshold) is not None]
    threshold = fmean(stored) if stored else None
    if known is None:
        write(job.file, weights, replace(metadata, score_threshold=threshold))
        known = score_checkpoint(job.file, job.images, settings)
    if known.facts.chosen_threshold is not None:
        threshold = known.facts.chosen_threshold
    write(job.file, weights, replace(metadata, score_threshold=threshold))
    return replace(known, facts=replace(known.facts, stored_threshold=threshold))
