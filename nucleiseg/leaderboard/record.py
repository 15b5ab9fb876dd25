"""The record of one checkpoint on one set of images: its matches, from which the metrics of any resample follow.

Usage:
    record = EvaluationRecord.of(truths, results, count_threshold=0.5, seconds_per_image=0.1, device="cpu")
    record.save(path)
    EvaluationRecord.load(path)
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import IOU_THRESHOLDS, ImageMatches, ignored_in, match_image
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.truth import ImageId, ImageTruth
from nucleiseg.files import atomic_path
from nucleiseg.foreign_files import DAMAGED_ARCHIVE
from nucleiseg.rle import RLE

FORMAT = 2
"""Version of the file's layout; files of another one are refused, so that they are written again."""

UNREADABLE: tuple[type[Exception], ...] = (*DAMAGED_ARCHIVE, KeyError, TypeError, AttributeError)
"""Errors of reading a damaged file, or one of another layout."""

HEADER_FIELDS = ("name", "image_id", "height", "width", "truths", "count", "tally")
"""Fields of an `ImageRecord` that are stored as JSON."""

NO_BOX = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class ImageRecord:
    """One image of an evaluation.

    Attributes:
        name: the image's name.
        image_id: its id in results.
        height: rows of the image.
        width: columns of the image.
        truths: number of true instances.
        count: number of detections with a score of at least the threshold for counting.
        tally: the sums that the metrics of label maps are ratios of.
        matches: which detections match a true instance.
        results: the detections, in the order in which they were given.
    """

    name: str
    image_id: ImageId
    height: int
    width: int
    truths: int
    count: int
    tally: Tally
    matches: ImageMatches
    results: Instances


@dataclass(frozen=True, eq=False)
class EvaluationRecord:
    """A checkpoint's detections on a set of images, and every metric of them.

    Attributes:
        images: the images, in the order of the truth.
        count_threshold: least score of a detection that counts and is painted into label maps.
        report: `Report.to_dict()` of these images.
        seconds_per_image: wall-clock seconds of predicting one image; NaN if not known.
        device: name of the device of the prediction.
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
        """Evaluate detections and keep the matches for resampling.

        Args:
            truths: the true instances of each image; at least one image.
            results: image id -> detections; an image that is missing has none.
            count_threshold: see the class.
            seconds_per_image: see the class.
            device: see the class.
            categories: label -> name of the class, for the metrics of each class.

        Raises:
            ValueError: without any image.
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
        """Write the record as one compressed `.npz` of arrays without pickles, whole or not at all.

        Everything but the detections is JSON text in the array `header`; the run lengths of all masks are one text.
        """
        header = {
            "format": FORMAT,
            "count_threshold": self.count_threshold,
            "report": self.report,
            "seconds_per_image": self.seconds_per_image,
            "device": self.device,
            "images": [
                {
                    **{field: getattr(image, field) for field in HEADER_FIELDS},
                    "detections": len(image.results.masks),
                    "has_boxes": image.results.boxes is not None,
                    "truths_by_label": list(image.matches.truths.items()),
                }
                for image in self.images
            ],
        }
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, header=_to_bytes(json.dumps(header)), **_to_arrays(self.images))

    @classmethod
    def load(cls, path: Path) -> "EvaluationRecord":
        """Read a file that `save` wrote.

        Raises:
            InputError: if the file cannot be read, is damaged, or has the layout of another version.
        """
        try:
            with zipfile.ZipFile(path) as archive:  # unpacked whole: that verifies the checksums before NumPy parses
                members = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
            arrays = {name: np.load(io.BytesIO(data), allow_pickle=False) for name, data in members.items()}
            header = json.loads(arrays["header"].tobytes())
            if header["format"] != FORMAT:
                raise ValueError(f"layout {header['format']} instead of {FORMAT}")
            images = _from_arrays(header["images"], arrays)
            rest = {key: header[key] for key in ("count_threshold", "report", "seconds_per_image", "device")}
        except UNREADABLE as error:
            raise InputError(
                f"{path} is not an evaluation that this version can read ({error}): delete it to have it written again."
            ) from error
        return cls(images, **rest)


def _to_arrays(images: Sequence[ImageRecord]) -> dict[str, Any]:
    """Return the detections of all images as arrays, one image after the other."""
    matches, results = [image.matches for image in images], [image.results for image in images]
    masks = [mask["counts"] for found in results for mask in found.masks]
    boxes = [np.array(found.boxes or [NO_BOX] * len(found.masks)).reshape(-1, 4) for found in results]
    return {
        "scores": _joined([match.scores for match in matches], np.float64),
        "labels": _joined([match.labels for match in matches], np.int64),
        "ranks": _joined([match.ranks for match in matches], np.int64),
        "true_positive": _packed([match.true_positive for match in matches]),
        "ignored": _packed(list(map(ignored_in, matches))),
        "result_scores": _joined([found.scores for found in results], np.float64),
        "result_labels": _joined([found.labels for found in results], np.int64),
        "result_boxes": _joined(boxes, np.float64, (4,)),
        "mask_lengths": np.array([len(text) for text in masks], dtype=np.int64),
        "masks": _to_bytes("".join(masks)),
    }


def _from_arrays(headers: Sequence[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> tuple[ImageRecord, ...]:
    """Undo `_to_arrays`.

    Args:
        headers: of each image, what `save` stores as JSON.
        arrays: the detections of all images, one image after the other.

    Raises:
        KeyError, TypeError, ValueError: if they are not of this layout.
    """
    found, ignored = (
        np.unpackbits(arrays[key], axis=0, count=len(IOU_THRESHOLDS)).astype(bool)
        for key in ("true_positive", "ignored")
    )
    ends = np.concatenate([[0], np.cumsum(arrays["mask_lengths"])]).tolist()
    text = arrays["masks"].tobytes().decode("ascii")
    masks = [text[start:stop] for start, stop in pairwise(ends)]
    images, start = [], 0
    for header in headers:
        own = slice(start, start + header["detections"])
        start = own.stop
        matches = ImageMatches(
            **{key: arrays[key][own] for key in ("scores", "labels", "ranks")},
            true_positive=found[:, own],
            truths=dict(header["truths_by_label"]),
            ignored=ignored[:, own] if ignored[:, own].any() else None,
        )
        results = Instances(
            masks=[RLE(size=[header["height"], header["width"]], counts=counts) for counts in masks[own]],
            scores=arrays["result_scores"][own].tolist(),
            labels=arrays["result_labels"][own].tolist(),
            boxes=[tuple(box) for box in arrays["result_boxes"][own].tolist()] if header["has_boxes"] else None,
        )
        fields = {field: header[field] for field in HEADER_FIELDS} | {"tally": Tally(*header["tally"])}
        images.append(ImageRecord(**fields, matches=matches, results=results))
    return tuple(images)


def _packed(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Join (10, detections) bool arrays of all images and pack the 10 thresholds into bits; there may be no image."""
    return np.packbits(np.concatenate([np.zeros((len(IOU_THRESHOLDS), 0), bool), *columns], axis=1), axis=0)


def _joined(columns: Sequence[Any], dtype: type[np.generic], shape: tuple[int, ...] = ()) -> np.ndarray:
    """Join the columns of all images, each of (detections, *shape); there may be no image."""
    return np.concatenate([np.zeros((0, *shape), dtype), *(np.asarray(column, dtype=dtype) for column in columns)])


def _to_bytes(text: str) -> np.ndarray:
    """Return ASCII text as (characters,) uint8."""
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
