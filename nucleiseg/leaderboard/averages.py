"""Average the weights of a run's best checkpoints and rank the average as one more entry."""

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
from nucleiseg.leaderboard.candidates import EvaluationJob, Fail, Scored, prediction_key
from nucleiseg.progress import echo

WRITTEN = "written"
"""Cache entry with the digest of an average's file."""


def average_best(
    table: Table,
    scored: Sequence[Scored],
    count: int,
    folder: Path,
    settings: PredictionSettings,
    cache: EvaluationCache,
    fail: Fail,
) -> list[Scored]:
    """Average the weights of the best steps of the best setting, for each of its runs separately.

    All seeds and folds use the same steps, so that their averages form one row; steps that a run lacks are left out.

    Args:
        table: its first row's setting is averaged.
        scored: all evaluated checkpoints.
        count: number of steps.
        folder: where `average_COUNT.ckpt` is written (with the run's name, if there are several).
        settings: of the averages' predictions.
        cache: of evaluations.
        fail: called for each average that fails.

    Returns:
        The evaluated averages, one for each run.
    """
    best = table.rows[0].candidates
    key = best[0].setting_key
    own = [row for row in table.rows if row.candidates[0].setting_key == key]
    runs = list(dict.fromkeys(candidate.run for candidate in best))
    steps = [row.step for row in own if {candidate.run for candidate in row.candidates}.issuperset(runs)][:count]
    if len(own) < 2:
        echo(f"{table.rows[0].setting} is not averaged: only one of its steps is ranked.")
        return []
    if len(steps) < 2:
        fail(
            f"{table.rows[0].setting} is not averaged: only step {steps[0]} is ranked for all of {', '.join(runs)}. "
            "Save checkpoints of all runs at the same steps, or wait for the runs to end."
        )
        return []
    averages = []
    for name, file in zip(runs, file_names(runs, count), strict=True):
        parts = [item for item in scored if item.job.run.name == name and item.job.step in steps]
        try:
            averages.append(_average(parts, folder / file, settings, cache))
        except InputError as error:
            fail(f"The best checkpoints of {name} cannot be averaged: {error}")
    return averages


def file_names(runs: Sequence[str], count: int) -> list[str]:
    """Name the files of averages of `count` steps; names of several runs are included, with a digest if they clash."""
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
    """Return the evaluated average, from the cache if its file is up to date."""
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
    parts: Sequence[Scored], job: EvaluationJob, settings: PredictionSettings, known: Evaluation | None
) -> Evaluation:
    """Write an average with its score threshold, and evaluate it if `known` is None.

    The threshold is chosen on validation images; on other images it is the mean of the checkpoints' thresholds.
    """
    from nucleiseg.leaderboard.checkpoint_scoring import score_checkpoint
    from nucleiseg.models.averaging import average_checkpoints, averages_statistics
    from nucleiseg.models.checkpoint import write

    weights, metadata = average_checkpoints([part.job.file for part in parts])
    if averages_statistics(weights):
        echo(
            "Note: the running statistics of batch normalization are averaged too and don't match the averaged "
            "weights exactly (norms gn and frozen_bn have none)."
        )
    stored = [value for part in parts if (value := part.evaluation.info.stored_threshold) is not None]
    threshold = fmean(stored) if stored else None
    if known is None:
        write(job.file, weights, replace(metadata, score_threshold=threshold))
        known = score_checkpoint(job.file, job.images, settings)
    if known.info.chosen_threshold is not None:
        threshold = known.info.chosen_threshold
    write(job.file, weights, replace(metadata, score_threshold=threshold))
    return replace(known, info=replace(known.info, stored_threshold=threshold))
