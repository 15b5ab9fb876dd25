"""List every step checkpoint of runs, and take its evaluation from the cache or compute it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.leaderboard.cache import Evaluation, EvaluationCache
from nucleiseg.leaderboard.image_sets import ImageSet
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.leaderboard.run_settings import Setting, name_settings
from nucleiseg.progress import counted, track
from nucleiseg.run_tables import read_curve
from nucleiseg.runs import Run

Kind = Literal["step", "average"]
"""A checkpoint as training saved it, or the mean of the weights of several."""

Facts = Mapping[str, float | str | None]
"""Numbers and texts on a checkpoint beside its metrics, by name (`columns.FACTS`); None or absent if not known."""

Fail = Callable[[str], None]
"""Reports a run or checkpoint that cannot be used, as a sentence."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One checkpoint, evaluated on one set of images: what the leaderboard ranks.

    Attributes:
        run: the run's name, unique among the ranked runs.
        setting: name of the setting: what differs between the runs ("r50_c4, saturation 0.5-2"), equal for its seeds
            and folds.
        setting_key: digest of the configuration without seed, fold and what doesn't change the result (devices, paths,
            logging).
        seed: the run's seed.
        step: optimizer steps done when the checkpoint was saved; for an average, of its last checkpoint.
        kind: how its weights were made.
        checkpoint: the file.
        image_set: digest of the scored images; equal for two candidates only if images and truth are the same.
        record: the evaluation.
        facts: `parameters`, `weights`, `seconds_per_step`, `peak_memory_mb`, `device`.
    """

    run: str
    setting: str
    setting_key: str
    seed: int
    step: int
    kind: Kind
    checkpoint: Path
    image_set: str
    record: EvaluationRecord
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationJob:
    """A checkpoint to evaluate.

    Attributes:
        run: the run that saved it.
        setting: of the run.
        step: optimizer steps done.
        file: the checkpoint.
        images: what it is scored on.
        key: of the evaluation in the cache.
        kind: how its weights were made.
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

    job: EvaluationJob
    evaluation: Evaluation

    @property
    def candidate(self) -> Candidate:
        """The checkpoint as the leaderboard ranks it."""
        job, info = self.job, self.evaluation.info
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
            facts={"parameters": info.parameters, "weights": info.weights, **run_facts(job.run)},
        )


def prediction_key(settings: PredictionSettings, images: ImageSet) -> dict[str, Any]:
    """Return the settings that change an evaluation; the device does not, except for rounding."""
    numbers = {key: value for key, value in asdict(settings).items() if key != "device"}
    return {**numbers, "chooses_threshold": images.are_validation, "mpp": images.mpp}


def list_jobs(
    runs: Sequence[Run],
    data: Mapping[str, Any] | None,
    settings: PredictionSettings,
    cache: EvaluationCache,
    fail: Fail,
) -> list[EvaluationJob]:
    """List every step checkpoint of the runs, with the images that it is scored on.

    Args:
        runs: the runs.
        data: the keys of the `data` group, for all of them; None: each run's own validation images.
        settings: of the prediction.
        cache: stores the digests of files.
        fail: called for each run and checkpoint that cannot be used.
    """
    known: dict[str, ImageSet] = {}
    jobs = []
    for run, setting in zip(runs, name_settings(runs), strict=True):
        if not run.index:
            if run.status.get("state") != "running":
                fail(f"{run.name} has no checkpoint and cannot be ranked.")
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
                jobs.append(EvaluationJob(run, setting, step, file, images, key))
    return jobs


def evaluate_jobs(
    jobs: Sequence[EvaluationJob], settings: PredictionSettings, cache: EvaluationCache, fail: Fail
) -> list[Scored]:
    """Evaluate checkpoints that are not in the cache; return all that succeeded, in the order of the jobs."""
    scored = {job.key: found for job in jobs if (found := cache.get(job.key))}
    missing = _with_readable_images([job for job in jobs if job.key not in scored], fail)
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


def _evaluate(job: EvaluationJob, settings: PredictionSettings) -> Evaluation:
    from nucleiseg.leaderboard.checkpoint_scoring import score_checkpoint  # seconds of imports, unless all is cached

    return score_checkpoint(job.file, job.images, settings)


def _with_readable_images(jobs: Sequence[EvaluationJob], fail: Fail) -> list[EvaluationJob]:
    """Return the jobs with readable images, and report each unreadable set of images once."""
    usable = []
    for images in dict.fromkeys(job.images for job in jobs):
        own = [job for job in jobs if job.images is images]
        try:
            _ = images.truths
        except InputError as error:
            names = ", ".join(dict.fromkeys(job.run.name for job in own))
            fail(f"{counted(len(own), 'checkpoint')} of {names} cannot be scored: {error}")
        else:
            usable += own
    return usable


def run_facts(run: Run) -> Facts:
    """Return the cost of a training from its files: median seconds a step, peak memory in MB, device."""
    seconds = read_curve(run.metrics, "time/step").values
    peak, device = run.status.get("peak_memory_mb"), run.status.get("device")
    return {
        "seconds_per_step": float(np.median(seconds)) if len(seconds) else None,
        "peak_memory_mb": float(peak) if isinstance(peak, int | float) else None,
        "device": device if isinstance(device, str) else None,
    }
