"""Score images with their true instances and detections: validation, `evaluate.py` and `leaderboard.py` share this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.report import Report, evaluate
from nucleiseg.evaluation.thresholds import choose_threshold
from nucleiseg.evaluation.truth import ImageId, ImageTruth
from nucleiseg.inference.count_threshold import COUNT_THRESHOLD
from nucleiseg.structures import Prediction, Sample


@dataclass(frozen=True)
class ScoredImage:
    """An image with its true instances and those that were found; picklable, so that ranks can exchange it.

    Attributes:
        truth: the true instances.
        found: the detections, each with a pixel.
    """

    truth: ImageTruth
    found: Instances

    @classmethod
    def of(cls, sample: Sample, image_id: ImageId, prediction: Prediction) -> Self:
        """Pair the instances of a sample with a prediction.

        Args:
            sample: the image and its true instances.
            image_id: identifies the image among those that are scored together.
            prediction: detections in pixels of the sample's image; those whose mask has no pixel are dropped, as in a
                result file.
        """
        return cls(ImageTruth.of(sample, image_id), Instances.from_prediction(prediction))


def evaluate_scored(
    images: Sequence[ScoredImage],
    count_threshold: float = COUNT_THRESHOLD,
    categories: Mapping[int, str] | None = None,
) -> Report:
    """Compute every metric of a set of images, see `evaluation.report.evaluate`.

    Args:
        images: at least one; of detections with equal scores, those of the image that is listed first rank first.
        count_threshold: least score of a detection that counts and is painted into label maps.
        categories: label -> name of the class.
    """
    truths, found = [image.truth for image in images], {image.truth.image_id: image.found for image in images}
    return evaluate(truths, found, count_threshold, categories)


def best_threshold(images: Sequence[ScoredImage]) -> float | None:
    """Return the score threshold with the best F1 over all images; None without a truth, or a detection of one."""
    return choose_threshold([image.truth for image in images], [image.found for image in images]).threshold
