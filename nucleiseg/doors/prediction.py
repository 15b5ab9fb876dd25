"""From a predictor and a list of images to a folder of results, one image in memory at a time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nucleiseg.files import write_json
from nucleiseg.inference.box_masks import area, to_rle
from nucleiseg.inference.images import ImageEntry, InputImage
from nucleiseg.inference.predictor import Predictor, predict_all
from nucleiseg.progress import say
from nucleiseg.writers.counts import Count, capped_sentence, count_instances, write_counts
from nucleiseg.writers.overlay import write_overlay
from nucleiseg.writers.submission import open_submission, to_results

COUNT_THRESHOLD = 0.5
"""Least score of a nucleus that counts, where validation chose none."""


@dataclass
class Summary:
    """What became of the images.

    Attributes:
        counts: one for each image that was predicted, in the order of the input.
        failed: image file name -> sentence, for those that were not.
    """

    counts: list[Count] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Number of images whose results were written."""
        return len(self.counts)

    @property
    def capped(self) -> list[str]:
        """Names of the images whose detections were cut at the limit."""
        return [count.image for count in self.counts if count.capped]


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
    the files.

    Args:
        predictor: finds the instances.
        images: what to predict (`inference.images.find_images`).
        output: the folder to write to; made where missing. Files of the same names are replaced.
        count_threshold: 0 .. 1; None takes the checkpoint's, which validation chose, or 0.5 where it has none.
        overlays: whether to draw the overlays.

    Returns:
        What became of each image.
    """
    folder = Path(output)
    threshold = _count_threshold(predictor, count_threshold)
    summary = Summary()
    entries: list[ImageEntry] = []

    def report(image: InputImage, sentence: str) -> None:
        say(sentence)
        summary.failed[image.path.name] = sentence

    with open_submission(folder) as submission:
        for image, pixels, found in predict_all(predictor, images, report):
            rles = to_rle(found)
            submission.add(to_results(found, rles, image.image_id))
            visible = found[torch.from_numpy(area(rles) > 0)]
            capped = len(found) >= predictor.detections
            if capped:
                say(f"{image.name}: {capped_sentence(len(found), predictor.detections)}")
            summary.counts.append(
                count_instances(visible, image=image.name, image_id=image.image_id, threshold=threshold, capped=capped)
            )
            entries.append(image.entry(*found.size))
            if overlays:
                write_overlay(folder / "overlays" / f"{image.name}.png", pixels, visible, threshold, image.name)
    write_counts(folder / "counts.csv", summary.counts)
    write_json(folder / "images.json", entries)
    return summary


def _count_threshold(predictor: Predictor, wanted: float | None) -> float:
    if wanted is not None:
        return wanted
    if predictor.metadata.score_threshold is not None:
        return predictor.metadata.score_threshold
    say(
        f"The checkpoint holds no score threshold chosen on validation: counts and overlays use {COUNT_THRESHOLD} "
        f"(count_threshold= sets another)."
    )
    return COUNT_THRESHOLD
