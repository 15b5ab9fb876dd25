"""What is kept of one checkpoint on one set of images: its matches, from which any resample's metrics follow."""

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
from nucleiseg.evaluation.matches import IOU_THRESHOLDS, ImageMatches, match_image
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.results import ImageResults
from nucleiseg.evaluation.truth import ImageId, ImageTruth
from nucleiseg.files import atomic_path
from nucleiseg.inference.box_masks import RLE

FORMAT = 1
"""Number of the file's layout; files of another one are refused, so that they are made anew."""


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
            found = results.get(truth.image_id, ImageResults())
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
            "images": [_header(image) for image in self.images],
        }
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            np.savez_compressed(handle, header=_bytes(json.dumps(header)), **_arrays(self.images))

    @classmethod
    def load(cls, path: Path) -> "EvaluationRecord":
        """Read what `save` wrote.

        Raises:
            InputError: if the file cannot be read, is damaged, or has the layout of another version.
        """
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            header = json.loads(arrays["header"].tobytes())
            if header["format"] != FORMAT:
                raise ValueError(f"layout {header['format']} instead of {FORMAT}")
            images = _images(header["images"], arrays)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} is no evaluation that this version can read ({error}): delete it, it is made anew."
            ) from error
        fields = ("count_threshold", "report", "seconds_per_image", "device")
        return cls(images, **{key: header[key] for key in fields})


def _header(image: ImageRecord) -> dict[str, Any]:
    """Return what is no array of an image."""
    fields = ("name", "image_id", "height", "width", "truths", "count", "tally")
    plain = {key: getattr(image, key) for key in fields}
    return {
        **plain,
        "detections": len(image.results.masks),
        "has_boxes": image.results.boxes is not None,
        "truths_by_label": list(image.matches.truths.items()),
    }


def _arrays(images: Sequence[ImageRecord]) -> dict[str, Any]:
    """Return the detections of all images as arrays, one image after the other."""
    masks = [mask["counts"] for image in images for mask in image.results.masks]
    found = [image.matches.true_positive for image in images]
    no_box = (0.0, 0.0, 0.0, 0.0)
    boxes = [np.array(image.results.boxes or [no_box] * len(image.results.masks)) for image in images]
    return {
        "scores": _join([image.matches.scores for image in images], np.float64),
        "labels": _join([image.matches.labels for image in images], np.int64),
        "ranks": _join([image.matches.ranks for image in images], np.int64),
        "true_positive": np.packbits(
            np.concatenate([np.zeros((len(IOU_THRESHOLDS), 0), bool), *found], axis=1), axis=0
        ),
        "result_scores": _join([image.results.scores for image in images], np.float64),
        "result_labels": _join([image.results.labels for image in images], np.int64),
        "result_boxes": _join([rows.reshape(-1, 4) for rows in boxes], np.float64, (4,)),
        "mask_lengths": np.array([len(text) for text in masks], dtype=np.int64),
        "masks": _bytes("".join(masks)),
    }


def _images(headers: Sequence[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> tuple[ImageRecord, ...]:
    """Undo `_header` and `_arrays`."""
    found = np.unpackbits(arrays["true_positive"], axis=0, count=len(IOU_THRESHOLDS)).astype(bool)
    ends = np.concatenate([[0], np.cumsum(arrays["mask_lengths"])]).tolist()
    text = arrays["masks"].tobytes().decode("ascii")
    masks = [text[start:stop] for start, stop in pairwise(ends)]
    images, start = [], 0
    for header in headers:
        mine = slice(start, start + header.pop("detections"))
        start = mine.stop
        size = [header["height"], header["width"]]
        columns = {key: arrays[key][mine] for key in ("scores", "labels", "ranks")}
        truths = dict(header.pop("truths_by_label"))
        matches = ImageMatches(**columns, true_positive=found[:, mine], truths=truths)
        boxes = [tuple(box) for box in arrays["result_boxes"][mine].tolist()] if header.pop("has_boxes") else None
        results = ImageResults(
            masks=[RLE(size=size.copy(), counts=counts) for counts in masks[mine]],
            scores=arrays["result_scores"][mine].tolist(),
            labels=arrays["result_labels"][mine].tolist(),
            boxes=boxes,
        )
        tally = Tally(*header.pop("tally"))
        images.append(ImageRecord(**header, tally=tally, matches=matches, results=results))
    return tuple(images)


def _join(columns: Sequence[Any], dtype: type[np.generic], shape: tuple[int, ...] = ()) -> np.ndarray:
    """Join the columns of all images, each of (detections, *shape); there may be no image."""
    return np.concatenate([np.zeros((0, *shape), dtype), *(np.asarray(column, dtype=dtype) for column in columns)])


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
