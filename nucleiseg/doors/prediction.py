"""From a predictor and a list of images to a folder of results, one image in memory at a time."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from nucleiseg.evaluation.thresholds import COUNT_THRESHOLD
from nucleiseg.files import write_json
from nucleiseg.inference.box_masks import area, to_rle
from nucleiseg.inference.images import ImageEntry, InputImage
from nucleiseg.inference.predictor import Predictor, predict_all
from nucleiseg.progress import say
from nucleiseg.writers.counts import Count, capped_sentence, count_instances, write_counts
from nucleiseg.writers.origin import remove_origin
from nucleiseg.writers.overlay import write_overlay
from nucleiseg.writers.submission import open_submission, to_results


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
    threshold = counting_threshold(predictor, count_threshold)
    summary = Summary(threshold)
    entries: list[ImageEntry] = []
    with open_submission(folder) as submission:
        for image, pixels, found in predict_all(predictor, images, summary.fail):
            rles = to_rle(found)
            results = to_results(found, rles, image.image_id)
            submission.add(results)
            summary.results += len(results)
            entries.append(image.entry(*found.size))
            visible = found[torch.from_numpy(area(rles) > 0)]
            capped = _is_capped(image, len(found), predictor.detections)
            summary.counts.append(
                count_instances(visible, image=image.name, image_id=image.image_id, threshold=threshold, capped=capped)
            )
            if overlays:
                write_overlay(folder / "overlays" / f"{image.name}.png", pixels, visible, threshold, image.name)
        remove_origin(folder)
    write_counts(folder / "counts.csv", summary.counts)
    write_json(folder / "images.json", entries)
    return summary


def _is_capped(image: InputImage, found: int, limit: int) -> bool:
    """Tell whether an image's detections were cut at the limit, and say so."""
    if found < limit:
        return False
    say(f"{image.name}: {capped_sentence(found, limit)}")
    return True


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
