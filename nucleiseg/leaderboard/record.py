"""What is kept of one checkpoint on one set of images: its matches, from which any resample's metrics follow."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import match_image
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.truth import ImageId, ImageTruth
from nucleiseg.files import atomic_path
from nucleiseg.foreign_files import DAMAGED_ARCHIVE
from nucleiseg.leaderboard.image_record import ImageRecord, arrays_of, as_bytes, header_of, images_of

FORMAT = 2
"""Number of the file's layout; files of another one are refused, so that they are made anew."""

UNREADABLE: tuple[type[Exception], ...] = (*DAMAGED_ARCHIVE, KeyError, TypeError, AttributeError)
"""What reading a damaged file, or one of another layout, raises."""


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
        results: Mapping[ImageId, Instances],
        count_threshold: float,
        seconds_per_image: float,
        device: str,
        categories: Mapping[int, str] | None = None,
    ) -> "EvaluationRecord":
        """Evaluate results and keep what resampling needs.

        Args:
            truths: the images with what there is to find; at least one.
            results: image id -> what was found there; an image that is not in it has no result.
            count_threshold: least score of a result that counts and is painted into label maps.
            seconds_per_image: wall-clock seconds that predicting one image took; NaN where it is not known.
            device: where it was predicted, in words.
            categories: label -> name of the class, for the metrics of each class.

        Raises:
            ValueError: if there is no image.
        """
        report = evaluate(truths, results, count_threshold, categories)
        images = []
        for truth, image in zip(truths, report.images, strict=True):
            found = results.get(truth.image_id, Instances())
            images.append(
                ImageRecord(
                    name=truth.name,
                    image_id=truth.image_id,
                    height=truth.height,
                    width=truth.width,
                    truths=image.truths,
                    count=image.count,
                    tally=image.tally,
                    matches=match_image(truth, found),
                    results=found,
                )
            )
        return cls(tuple(images), count_threshold, report.to_dict(), seconds_per_image, device)

    def save(self, path: Path) -> None:
        """Write the record as one compressed `.npz` of plain arrays, whole or not at all.

        What is no array stands in it as JSON text; the masks of all images are one text. No pickles.
        """
        header = {
            "format": FORMAT,
            "count_threshold": self.count_threshold,
            "report": self.report,
            "seconds_per_image": self.seconds_per_image,
            "device": self.device,
            "images": [header_of(image) for image in self.images],
        }
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, header=as_bytes(json.dumps(header)), **arrays_of(self.images))

    @classmethod
    def load(cls, path: Path) -> "EvaluationRecord":
        """Read what `save` wrote.

        Raises:
            InputError: if the file cannot be read, is damaged, or has the layout of another version.
        """
        try:
            arrays = _read_arrays(path)
            header = json.loads(arrays["header"].tobytes())
            if header["format"] != FORMAT:
                raise ValueError(f"layout {header['format']} instead of {FORMAT}")
            images = images_of(header["images"], arrays)
            rest = {key: header[key] for key in ("count_threshold", "report", "seconds_per_image", "device")}
        except UNREADABLE as error:
            raise InputError(
                f"{path} is no evaluation that this version can read ({error}): delete it, it is made anew."
            ) from error
        return cls(images, **rest)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz`, each unpacked whole first: that checks it, before NumPy believes its head."""
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    return {name: np.load(io.BytesIO(data), allow_pickle=False) for name, data in members.items()}
