"""Compare policies of prediction: mask NMS and test-time augmentation, on the validation images of runs.

    python -m benchmarks.policies runs=runs/fold0,runs/fold1                    # mask NMS, at the last step of each run
    python -m benchmarks.policies runs=runs/fold0 steps=600,1400 tta=flips,rotations
    python -m benchmarks.policies runs=runs/fold0 tta=flips:detectron2          # another merge policy

Each checkpoint predicts the images that its own run held out. Mask NMS at several thresholds shares one prediction a
threshold of box NMS; its seconds are those of the prediction and of the suppression.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from benchmarks import options
from benchmarks.result import Result, Row
from nucleiseg.cli.shipped import CONF
from nucleiseg.errors import InputError
from nucleiseg.evaluation.painting import decode, paint
from nucleiseg.evaluation.scoring import ScoredImage, best_threshold, evaluate_scored
from nucleiseg.inference.count_threshold import COUNT_THRESHOLD
from nucleiseg.inference.mask_nms import CANDIDATES, LOOSE_BOX_NMS, suppress_masks
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tta import TTASettings
from nucleiseg.leaderboard.image_sets import ImageSet
from nucleiseg.progress import echo
from nucleiseg.runs import find_runs
from nucleiseg.structures import Prediction

DOUBLED = 0.5
"""Share of a result's pixels in one true nucleus above which the result shows that nucleus."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        runs: folders of runs.
        steps: steps of the checkpoints; empty: the last of each run.
        nms: thresholds of box NMS before mask NMS.
        mask_nms: IoU thresholds of mask NMS; empty: box NMS alone.
        inside: thresholds of the shared part of the smaller mask; 0: compare by IoU alone.
        tta: options of conf/tta, each with an optional merge policy (`flips:detectron2`); without mask NMS.
        images: number of images; 0: all that a run held out.
        device: `auto` takes a CUDA GPU if there is one.
    """

    runs: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()
    nms: tuple[float, ...] = (0.5, LOOSE_BOX_NMS)
    mask_nms: tuple[float, ...] = (0.3, 0.5)
    inside: tuple[float, ...] = (0, 0.5, 0.7)
    tta: tuple[str, ...] = ()
    images: int = 0
    device: str = "auto"


@dataclass(frozen=True)
class Case:
    """One checkpoint with the images that its run held out."""

    run: str
    step: int
    file: Path
    images: ImageSet


def main(chosen: Options) -> Result:
    """Score every policy for every checkpoint."""
    if not chosen.runs:
        raise InputError("runs is missing; it accepts folders of runs, separated by commas.")
    rows = [row for case in find_cases(chosen) for row in policies(case, chosen)]
    return Result("policies", "Policies of prediction on the images that each run held out", rows)


def find_cases(chosen: Options) -> Iterator[Case]:
    """Yield the checkpoints of the runs at the steps that are asked for."""
    for run in find_runs(chosen.runs):
        files = dict(run.checkpoints)
        for step in chosen.steps or [max(files)]:
            if step in files:
                yield Case(run.name, step, files[step], ImageSet.of_run(run))


def policies(case: Case, chosen: Options) -> Iterator[Row]:
    """Yield a row for each policy of one checkpoint."""
    for nms in chosen.nms:
        # twice as many detections may enter mask NMS as may leave it, as in the predictor
        limit = Predictor.from_checkpoint(case.file).detections
        found, seconds = predict(case, chosen, nms=nms, detections=CANDIDATES * limit)
        yield score(case, chosen, found, seconds, nms=nms, limit=limit)
        for iou in chosen.mask_nms:
            for inside in chosen.inside:
                start = time.perf_counter()
                kept = [suppress_masks(one, iou, inside or None) for one in found]
                extra = (time.perf_counter() - start) / len(found)
                yield score(
                    case, chosen, kept, seconds + extra, nms=nms, limit=limit, mask_nms=iou, inside=inside or None
                )
    for name in chosen.tta:
        found, seconds = predict(case, chosen, tta=tta_settings(name))
        yield score(case, chosen, found, seconds, tta=name)


def tta_settings(name: str) -> TTASettings:
    """Return an option of conf/tta, with the merge policy after a colon."""
    from hydra import compose, initialize_config_dir

    option, _, merge = name.partition(":")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("evaluate", [f"tta={option}", *([f"tta.merge={merge}"] if merge else [])])
    return TTASettings.from_dict(OmegaConf.to_container(config.tta), "tta")


def predict(case: Case, chosen: Options, **settings: Any) -> tuple[list[Prediction], float]:  # noqa: ANN401
    """Predict the images of a case; return the predictions, and the median of the seconds an image."""
    predictor = Predictor.from_checkpoint(case.file, PredictionSettings(device=chosen.device, **settings))
    found, seconds = [], []
    for name in list(case.images.records)[: chosen.images or None]:
        sample = case.images.sample(name)
        start = time.perf_counter()
        found.append(predictor.predict(sample.image, case.images.mpp))
        seconds.append(time.perf_counter() - start)
    return found, median(seconds)


def score(
    case: Case,
    chosen: Options,
    found: Sequence[Prediction],
    seconds: float,
    *,
    limit: int | None = None,
    nms: float | None = None,
    mask_nms: float | None = None,
    inside: float | None = None,
    tta: str = "none",
) -> Row:
    """Return the row of one policy, given its predictions; counts use the threshold with the best F1."""
    names = list(case.images.records)[: chosen.images or None]
    samples = [case.images.sample(name) for name in names]
    scored = [
        ScoredImage.of(sample, number, one[:limit])
        for number, (sample, one) in enumerate(zip(samples, found, strict=True), 1)
    ]
    threshold = best_threshold(scored) or COUNT_THRESHOLD
    numbers = evaluate_scored(scored, threshold).to_dict()
    row: Row = {
        "run": case.run,
        "step": case.step,
        "tta": tta,
        "nms": nms,
        "mask_nms": mask_nms,
        "inside": inside,
        "images": len(scored),
        "ap50_100": numbers["ap50_100"],
        "share of its ceiling": numbers["ap50_100"] / numbers["ap50_100_ceiling"],
        **{key: numbers[key] for key in ("ap", "ap50", "ap75", "pq", "aji", "f1")},
        "threshold": threshold,
        "doubled nuclei an image": sum(doubled(image, threshold) for image in scored) / len(scored),
        "results an image": numbers["results"] / len(scored),
        "seconds an image": seconds,
    }
    texts = (f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
    echo(", ".join(texts))
    return row


def doubled(image: ScoredImage, threshold: float) -> int:
    """Count the results above a threshold that show a nucleus which another result shows, too.

    A result shows the true nucleus that more than half of its pixels lie in.
    """
    truth, found = image.truth, image.found
    height, width = truth.height, truth.width
    labels = paint(truth.masks, height, width).ravel(order="F")  # column-major, as run lengths are
    counted = [mask for mask, score in zip(found.masks, found.scores, strict=True) if score >= threshold]
    runs = decode(counted)
    shows = []
    for index in range(len(counted)):
        own = runs.instance == index
        pixels = np.concatenate(
            [labels[start:stop] for start, stop in zip(runs.start[own], runs.stop[own], strict=True)]
        )
        counts = np.bincount(pixels, minlength=2)
        counts[0] = 0
        if counts.max() > DOUBLED * len(pixels):
            shows.append(int(counts.argmax()))
    return len(shows) - len(set(shows))


if __name__ == "__main__":
    options.run(Options, main)
