"""From a predictor and a list of images to a folder of results.

The network runs in the caller's thread. Images are read ahead of it (`inference.predictor.predict_all`) and encoded and
drawn behind it, so that a fast device waits for neither; never more than `BEHIND` + 1 images are under way there.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from nucleiseg.evaluation.thresholds import COUNT_THRESHOLD
from nucleiseg.files import write_json
from nucleiseg.inference.box_masks import area, to_rle
from nucleiseg.inference.images import ImageEntry, InputImage
from nucleiseg.inference.predictor import Predictor, predict_all
from nucleiseg.pipelining import run_ahead
from nucleiseg.progress import say
from nucleiseg.structures import Prediction
from nucleiseg.writers.counts import Count, capped_sentence, count_instances, write_counts
from nucleiseg.writers.origin import remove_origin
from nucleiseg.writers.overlay import write_overlay
from nucleiseg.writers.submission import Result, open_submission, to_results

BEHIND = 3
"""Images that are encoded and drawn while the network has another, a thread each: that takes a core some 0.15 s for
1000 x 1000 pixels with 500 nuclei, and a GPU finds them in a fraction of it."""


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        count_threshold: least score of a detection that was counted and drawn.
        results: number of results in `answer.json`.
        counts: one for each image that was predicted, in the order of the input.
        failed: image file name -> sentence, for those that were not.
    """

    count_threshold: float
    results: int = 0
    counts: list[Count] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Number of images whose results were written."""
        return len(self.counts)

    def fail(self, image: InputImage, sentence: str) -> None:
        """Say why an image has no result, and keep it in mind."""
        say(sentence)
        self.failed[image.path.name] = sentence


class Found(NamedTuple):
    """An image and what the network found in it.

    Attributes:
        image: the input.
        pixels: (H, W, 3) uint8 RGB.
        prediction: its instances, in these pixels.
        capped: whether the limit on detections was hit.
    """

    image: InputImage
    pixels: np.ndarray
    prediction: Prediction
    capped: bool


def predict_to_folder(
    predictor: Predictor,
    images: Sequence[InputImage],
    output: str | os.PathLike[str],
    count_threshold: float | None = None,
    overlays: bool = True,
) -> Summary:
    """Predict images and write `answer.json answer.zip counts.csv images.json` and `overlays/NAME.png`.

    `answer.json` holds every detection that the predictor keeps and whose mask has a pixel; counts and overlays are
    of those with a score of at least `count_threshold`. An image that cannot be read is reported and is in none of
    the files. The sidecar of an answer that is replaced goes with it (`doors.predicting` writes the new one).

    Args:
        predictor: finds the instances.
        images: what to predict (`inference.images.find_images`).
        output: the folder to write to; made where missing. Files of the same names are replaced.
        count_threshold: 0 .. 1; None takes the checkpoint's, which validation chose, or 0.5 where it has none. Never
            less than the predictor's own: what it does not find cannot be counted.
        overlays: whether to draw the overlays.

    Returns:
        What became of each image.
    """
    folder = Path(output)
    summary = Summary(counting_threshold(predictor, count_threshold))
    entries: list[ImageEntry] = []
    write = partial(write_image, folder=folder, threshold=summary.count_threshold, overlay=overlays)
    with (
        open_submission(folder) as submission,
        closing(predict_all(predictor, images, summary.fail)) as predicted,
        closing(run_ahead(write, _found(predicted, predictor.detections), threads=BEHIND, ahead=BEHIND)) as written,
    ):
        for future in written:
            results, entry, count = future.result()
            submission.add(results)
            summary.results += len(results)
            summary.counts.append(count)
            entries.append(entry)
        remove_origin(folder)
    write_counts(folder / "counts.csv", summary.counts)
    write_json(folder / "images.json", entries)
    return summary


def write_image(
    found: Found, *, folder: Path, threshold: float, overlay: bool
) -> tuple[list[Result], ImageEntry, Count]:
    """Encode what was found in an image and draw its overlay; safe in any thread.

    Args:
        found: the image and its prediction.
        folder: where `overlays/NAME.png` goes.
        threshold: least score of an instance that is counted and drawn.
        overlay: whether to draw.

    Returns:
        (its results in `answer.json`, its entry in `images.json`, its line in `counts.csv`).
    """
    image, prediction = found.image, found.prediction
    rles = to_rle(prediction)
    visible = prediction[torch.from_numpy(area(rles) > 0)]
    if overlay:
        write_overlay(folder / "overlays" / f"{image.name}.png", found.pixels, visible, threshold, image.name)
    count = count_instances(
        visible, image=image.name, image_id=image.image_id, threshold=threshold, capped=found.capped
    )
    return to_results(prediction, rles, image.image_id), image.entry(*prediction.size), count


def _found(predicted: Iterable[tuple[InputImage, np.ndarray, Prediction]], limit: int) -> Iterator[Found]:
    """Tell of each prediction whether it was cut at the limit, and say so before the network gets the next image."""
    for image, pixels, prediction in predicted:
        capped = len(prediction) >= limit
        if capped:
            say(f"{image.name}: {capped_sentence(len(prediction), limit)}")
        yield Found(image, pixels, prediction, capped)


def counting_threshold(predictor: Predictor, wanted: float | None) -> float:
    """Return the threshold that is asked for, else the checkpoint's, else 0.5; not below that of the predictor."""
    threshold = predictor.metadata.score_threshold if wanted is None else wanted
    if threshold is None:
        say(
            f"The checkpoint holds no score threshold chosen on validation: counts and overlays use {COUNT_THRESHOLD} "
            f"(count_threshold= sets another)."
        )
        threshold = COUNT_THRESHOLD
    if threshold < predictor.score_threshold:
        say(
            f"Counts and overlays use the threshold {predictor.score_threshold:g} instead of {threshold:.4g}: "
            f"score_threshold={predictor.score_threshold:g} leaves nothing below it."
        )
    return max(threshold, predictor.score_threshold)
