"""What validation knows of one image, and the numbers that all of them give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nucleiseg.evaluation.coco_ap import average_precisions
from nucleiseg.evaluation.thresholds import choose_threshold
from nucleiseg.evaluation.truth import sample_masks
from nucleiseg.inference.box_masks import RLE, to_rle
from nucleiseg.structures import Prediction, Sample
from nucleiseg.training.module import LOSSES


@dataclass(frozen=True)
class Truth:
    """The true instances of one image: masks over the source image, and their labels."""

    masks: list[RLE]
    labels: list[int]

    @classmethod
    def of(cls, sample: Sample) -> "Truth":
        """Take the instances of a sample."""
        return cls(sample_masks(sample), sample.labels.tolist())


@dataclass(frozen=True)
class ImageResult:
    """What the network made of one validation image; picklable, so that ranks can exchange it.

    Attributes:
        index: number of the image.
        truth: what is there.
        masks: what was found, over the source image.
        scores: confidence of each.
        labels: class of each.
        losses: `LOSSES` of the image; None if they were not asked for.
    """

    index: int
    truth: Truth
    masks: list[RLE]
    scores: list[float]
    labels: list[int]
    losses: dict[str, float] | None

    @classmethod
    def of(
        cls, index: int, truth: Truth, prediction: Prediction, losses: dict[str, float] | None = None
    ) -> "ImageResult":
        """Take a prediction in pixels of the source image."""
        return cls(index, truth, to_rle(prediction), prediction.scores.tolist(), prediction.labels.tolist(), losses)


def score(results: Sequence[ImageResult]) -> tuple[dict[str, float], float | None]:
    """Put the images together.

    Returns:
        The `val/` columns (AP50 at all detections and at 100, mean losses; without those that are undefined) and the
        score threshold with the best F1 (None if there was nothing to choose by).
    """
    truths = [result.truth.masks for result in results]
    found = [result.masks for result in results]
    scores = [result.scores for result in results]
    true_labels, labels = [result.truth.labels for result in results], [result.labels for result in results]
    of_all, of_100 = average_precisions(
        truths, found, scores, limits=(None, 100), truth_labels=true_labels, prediction_labels=labels
    )
    columns = {"val/ap50": of_all.ap50, "val/ap50_100": of_100.ap50, **mean_losses(results)}
    chosen = choose_threshold(truths, found, scores, truth_labels=true_labels, prediction_labels=labels)
    return {key: value for key, value in columns.items() if not math.isnan(value)}, chosen.threshold


def mean_losses(results: Sequence[ImageResult]) -> dict[str, float]:
    """Return the means over the images of the five losses, and of their sum."""
    losses = [result.losses for result in results if result.losses is not None]
    if not losses:
        return {}
    means = {f"val/{name}": math.fsum(image[name] for image in losses) / len(losses) for name in LOSSES}
    return {"val/loss": math.fsum(means.values()), **means}
