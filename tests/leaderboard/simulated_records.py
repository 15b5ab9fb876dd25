"""Records and candidates without masks: what was found is said outright."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import ImageMatches
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.leaderboard.metrics import CEILING, METRICS, ceilings_of
from nucleiseg.leaderboard.record import EvaluationRecord, ImageRecord


def image_record(name: str, true: Sequence[bool], truths: int) -> ImageRecord:
    """An image whose detections, in descending score, are true or false at every IoU threshold; all of them count."""
    found = np.array(true, dtype=bool)
    scores = np.linspace(0.99, 0.5, len(found)) if len(found) else np.zeros(0)
    matches = ImageMatches(
        scores,
        np.ones(len(found), np.int64),
        np.arange(len(found)),
        np.tile(found, (10, 1)),
        {1: truths} if truths else {},
    )
    hits = int(found.sum())
    tally = Tally(
        hits, truths, len(found), 0.8 * hits, hits, truths + len(found) - hits, hits, truths + 1, hits, 2 * truths
    )
    return ImageRecord(name, name, 10, 10, truths, len(found), tally, matches, Instances())


def record(*images: ImageRecord, seconds_per_image: float = 1.0) -> EvaluationRecord:
    bare = EvaluationRecord(images, 0.5, {}, seconds_per_image, "a CPU")
    once = np.ones((1, len(images)))
    numbers = {key: float(metric.resampled(bare, once)[0]) for key, metric in METRICS.items()}
    numbers[CEILING] = float(ceilings_of(bare, once)[0])
    report = {key: None if np.isnan(value) else value for key, value in numbers.items()}
    return EvaluationRecord(images, 0.5, report, seconds_per_image, "a CPU")


def candidate(evaluated: EvaluationRecord, setting: str = "a", **changes: Any) -> Candidate:  # noqa: ANN401
    values = {"seed": 0, "step": 200, "kind": "step", "image_set": "set", "facts": {}} | changes
    run = values.pop("run", f"{setting} seed {values['seed']} {values['image_set']}")
    return Candidate(
        run=run, setting=setting, setting_key=f"key of {setting}", checkpoint=Path("x"), record=evaluated, **values
    )


def random_record(generator: np.random.Generator, skill: float, images: int = 6, truths: int = 40) -> EvaluationRecord:
    """Images whose detections are true with a chance that falls with their score; each image has one more of them."""
    drawn = []
    for number in range(images):
        chance = np.clip(np.linspace(1.2, 0.2, truths + number) * skill, 0, 1)
        drawn.append(image_record(f"image {number}", generator.random(truths + number) < chance, truths + number // 2))
    return record(*drawn)
