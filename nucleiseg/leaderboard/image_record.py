"""What is kept of one image of an evaluation, and how the images of a record become plain arrays and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import IOU_THRESHOLDS, ImageMatches, ignored_in
from nucleiseg.evaluation.truth import ImageId
from nucleiseg.rle import RLE


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
    results: Instances


def header_of(image: ImageRecord) -> dict[str, Any]:
    """Return what is no array of an image."""
    fields = ("name", "image_id", "height", "width", "truths", "count", "tally")
    plain = {key: getattr(image, key) for key in fields}
    return {
        **plain,
        "detections": len(image.results.masks),
        "has_boxes": image.results.boxes is not None,
        "truths_by_label": list(image.matches.truths.items()),
    }


def arrays_of(images: Sequence[ImageRecord]) -> dict[str, Any]:
    """Return the detections of all images as arrays, one image after the other."""
    masks = [mask["counts"] for image in images for mask in image.results.masks]
    found = [image.matches.true_positive for image in images]
    ignored = [ignored_in(image.matches) for image in images]
    no_box = (0.0, 0.0, 0.0, 0.0)
    boxes = [np.array(image.results.boxes or [no_box] * len(image.results.masks)) for image in images]
    return {
        "scores": _join([image.matches.scores for image in images], np.float64),
        "labels": _join([image.matches.labels for image in images], np.int64),
        "ranks": _join([image.matches.ranks for image in images], np.int64),
        "true_positive": _pack(found),
        "ignored": _pack(ignored),
        "result_scores": _join([image.results.scores for image in images], np.float64),
        "result_labels": _join([image.results.labels for image in images], np.int64),
        "result_boxes": _join([rows.reshape(-1, 4) for rows in boxes], np.float64, (4,)),
        "mask_lengths": np.array([len(text) for text in masks], dtype=np.int64),
        "masks": as_bytes("".join(masks)),
    }


def images_of(headers: Sequence[dict[str, Any]], arrays: Mapping[str, np.ndarray]) -> tuple[ImageRecord, ...]:
    """Undo `header_of` and `arrays_of`.

    Args:
        headers: what is no array of each image; emptied.
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
        mine = slice(start, start + header.pop("detections"))
        start = mine.stop
        size = [header["height"], header["width"]]
        columns = {key: arrays[key][mine] for key in ("scores", "labels", "ranks")}
        truths = dict(header.pop("truths_by_label"))
        matches = ImageMatches(
            **columns,
            true_positive=found[:, mine],
            truths=truths,
            ignored=ignored[:, mine] if ignored[:, mine].any() else None,
        )
        boxes = [tuple(box) for box in arrays["result_boxes"][mine].tolist()] if header.pop("has_boxes") else None
        results = Instances(
            masks=[RLE(size=size.copy(), counts=counts) for counts in masks[mine]],
            scores=arrays["result_scores"][mine].tolist(),
            labels=arrays["result_labels"][mine].tolist(),
            boxes=boxes,
        )
        tally = Tally(*header.pop("tally"))
        images.append(ImageRecord(**header, tally=tally, matches=matches, results=results))
    return tuple(images)


def _pack(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Join (10, detections) bool arrays of all images; there may be none. The thresholds become bits."""
    return np.packbits(np.concatenate([np.zeros((len(IOU_THRESHOLDS), 0), bool), *columns], axis=1), axis=0)


def _join(columns: Sequence[Any], dtype: type[np.generic], shape: tuple[int, ...] = ()) -> np.ndarray:
    """Join the columns of all images, each of (detections, *shape); there may be no image."""
    return np.concatenate([np.zeros((0, *shape), dtype), *(np.asarray(column, dtype=dtype) for column in columns)])


def as_bytes(text: str) -> np.ndarray:
    """Return ASCII text as (characters,) uint8."""
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8)
