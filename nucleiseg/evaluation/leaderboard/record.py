"""What is kept of one checkpoint on one set of images: its matches, from which any resample's metrics follow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.matches import ImageMatches
from nucleiseg.evaluation.results import ImageResults
from nucleiseg.evaluation.truth import ImageId, ImageTruth


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image of an evaluation.

    Attributes:
        name: the image's name.
        image_id: what results call it by.
        height: rows of the image.
        width: columns of the image.
        truths: number of true instances.
        count: number of results with a score of at least the threshold for counting.
        tally: the sums that the metrics of label maps are ratios of.
        matches: which detections found a truth.
        results: the detections themselves, in the order in which they were given.
    """

    name: str
    image_id: ImageId
    height: int
    width: int
    truths: int
    count: int
    tally: Tally
    matches: ImageMatches
    results: ImageResults


@dataclass(frozen=True, eq=False)
class EvaluationRecord:
    """A checkpoint's results on a set of images, and every metric of them.

    Attributes:
        images: the images, in the order of the truth.
        count_threshold: least score of a result that counts and is painted into label maps.
        report: `Report.to_dict()` of these images.
        seconds_per_image: wall-clock seconds that predicting one image took; NaN where it is not known.
        device: where it was predicted, in words.
    """

    images: tuple[ImageRecord, ...]
    count_threshold: float
    report: dict[str, Any]
    seconds_per_image: float
    device: str

    @classmethod
    def of(
        cls,
        truths: Sequence[ImageTruth],
        results: Mapping[ImageId, ImageResults],
        count_threshold: float,
        seconds_per_image: float,
        device: str,
    ) -> "EvaluationRecord":
        """Evaluate results and keep what resampling needs."""
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write the record as one `.npz`."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> "EvaluationRecord":
        """Read what `save` wrote."""
        raise NotImplementedError
