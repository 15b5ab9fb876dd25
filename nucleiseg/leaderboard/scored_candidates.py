"""From runs to evaluated checkpoints: what is in the cache is taken from there, the rest is predicted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.leaderboard.cache import Evaluation, EvaluationCache
from nucleiseg.leaderboard.candidates import Candidate, Kind
from nucleiseg.leaderboard.image_sets import ImageSet
from nucleiseg.leaderboard.run_settings import Setting, name_settings
from nucleiseg.progress import counted, track
from nucleiseg.run_tables import read_curve
from nucleiseg.runs import Run

Fail = Callable[[str], None]
"""Says what cannot be used, and counts it."""


@dataclass(frozen=True)
class Job:
    """A checkpoint to be evaluated.

    Attributes:
        run: where it comes from.
        setting: of the run.
        step: optimiser steps done.
        file: the checkpoint.
        images: what it is scored on.
        key: of the evaluation in the cache.
        kind: as training saved it, or an average.
    """

    run: Run
    setting: Setting
    step: int
    file: Path
    images: ImageSet
    key: str
    kind: Kind = "step"


@dataclass(frozen=True)
class Scored:
    """An evaluated checkpoint."""

    job: Job
    evaluation: Evaluation

    @property
    def candidate(self) -> Candidate:
        """What the leaderboard ranks."""
        job, facts = self.job, self.evaluation.facts
        seed = job.run.config.get("seed")
        return Candidate(
            run=job.run.name,
            setting=job.setting.name,
            setting_key=job.setting.key,
            seed=seed if isinstance(seed, int) else 0,
            step=job.step,
            kind=job.kind,
            checkpoint=job.file,
            image_set=job.images.digest,
            record=self.evaluation.record,
            facts={
                "parameters": facts.parameters,
                "weights": facts.weights,
                **run_facts(job.run),
            },
        )


def prediction_key(settings: PredictionSettings, images: ImageSet) -> dict[str, Any]:
    """Return what changes an evaluation beside checkpoint and images; the device does not, up to rounding."""
    plain = {key: value for key, value in asdict(settings).items() if key != "device"}
    return {**plain, "chooses_threshold": images.are_validation, "mpp": images.mpp}


def list_jobs(
    runs: Sequence[Run],
    data: Mapping[str, Any] | None,
    settings: PredictionSettings,
    cache: EvaluationCache,
    fail: Fail,
) -> list[Job]:
    """List every step checkpoint of the runs, with the images that it is scored on.

    Args:
        runs: the runs.
        data: the keys of the `data` group for all of them; None: each run's own validation images.
        settings: how they predict.
        cache: knows the digests of files.
        fail: told of runs and checkpoints that cannot be used.
    """
    known: dict[str, ImageSet] = {}
    jobs = []
    for run, setting in zip(runs, name_settings(runs), strict=True):
        if not run.index:
            if run.status.get("state") != "running":
                fail(f"{run.name} has no checkpoint: there is nothing of it to rank.")
            continue
        try:
            images = ImageSet.of_run(run, cache) if data is None else ImageSet.given(data, run)
            images = known.setdefault(images.identity, images)
            digest = images.digest
        except InputError as error:
            fail(f"{run.name} cannot be scored: {error}")
            continue
        for step, file in run.checkpoints:
            try:
                key = cache.key(cache.digest(file), digest, prediction_key(settings, images))
            except InputError as error:
                fail(f"{run.name}, step {step}: {error}")
            else:
                jobs.append(Job(run, setting, step, file, images, key))
    return jobs


def evaluate_jobs(
    jobs: Sequence[Job], settings: PredictionSettings, cache: EvaluationCache, fail: Fail
) -> list[Scored]:
    """Evaluate checkpoints; what the cache holds is not predicted again.

    Returns:
        Those that could be evaluated, in the order of the jobs.
    """
    scored = {job.key: found for job in jobs if (found := cache.get(job.key))}
    missing = _with_images([job for job in jobs if job.key not in scored], fail)
    for job in track(missing, "Evaluating checkpoints"):
        if job.key in scored:  # the same weights under another name
            continue
        try:
            scored[job.key] = _evaluate(job, settings)
        except InputError as error:
            fail(f"{job.run.name}, step {job.step}: {error}")
        else:
            cache.put(job.key, scored[job.key])
    return [Scored(job, scored[job.key]) for job in jobs if job.key in scored]


def _evaluate(job: Job, settings: PredictionSettings) -> Evaluation:
    from nucleiseg.leaderboard.scoring import (
        score_checkpoint,
    )  # where nothing is to be done, nothing waits for it

    return score_checkpoint(job.file, job.images, settings)


def _with_images(jobs: Sequence[Job], fail: Fail) -> list[Job]:
    """Return the jobs whose images can be read; a set of images that cannot is told of once."""
    usable = []
    for images in dict.fromkeys(job.images for job in jobs):
        mine = [job for job in jobs if job.images is images]
        try:
            images.read_truth()
        except InputError as error:
            names = ", ".join(dict.fromkeys(job.run.name for job in mine))
            fail(f"{counted(len(mine), 'checkpoint')} of {names} cannot be scored: {error}")
        else:
            usable += mine
    return usable


def run_facts(run: Run) -> dict[str, float | str | None]:
    """Return what a run's files tell of its cost: median seconds a step, peak memory in MB, device of the training."""
    seconds = read_curve(run.metrics, "time/step").values
    peak, device = run.status.get("peak_memory_mb"), run.status.get("device")
    return {
        "seconds_per_step": float(np.median(seconds)) if len(seconds) else None,
        "peak_memory_mb": float(peak) if isinstance(peak, int | float) else None,
        "device": device if isinstance(device, str) else None,
    }
