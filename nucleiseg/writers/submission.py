"""The answer that the homework's board takes: COCO results in `answer.json`, zipped beside it.

The results go to the disk image by image, so that memory does not grow with their number.
"""

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypedDict

from pycocotools import mask as coco_mask

from nucleiseg.files import atomic_path
from nucleiseg.inference.box_masks import RLE, area
from nucleiseg.structures import Prediction


class Result(TypedDict):
    """One instance, as https://cocodataset.org/#format-results has it."""

    image_id: int
    category_id: int
    segmentation: RLE
    bbox: list[float]
    score: float


def to_results(prediction: Prediction, rles: Sequence[RLE], image_id: int) -> list[Result]:
    """Return the COCO results of one image.

    Args:
        prediction: the image's instances.
        rles: their masks (`inference.box_masks.to_rle`).
        image_id: what the board calls the image by.

    Returns:
        One result for each instance whose mask has a pixel. `category_id` is the label (1, 2, ...); `bbox` is the
        x, y, width, height of the mask, tight, as COCO defines an annotation's box (the network's own box is where the
        mask was looked for).
    """
    masks = list(rles)
    boxes = coco_mask.toBbox(masks).tolist() if masks else []
    columns = zip(prediction.labels.tolist(), masks, boxes, prediction.scores.tolist(), area(masks), strict=True)
    return [
        Result(image_id=image_id, category_id=label, segmentation=mask, bbox=box, score=round(score, 6))
        for label, mask, box, score, pixels in columns
        if pixels > 0
    ]


class Submission:
    """An answer under way: results are added image by image. Made by `open_submission`.

    Args:
        handle: a text file open for writing.
    """

    def __init__(self, handle: IO[str]) -> None:
        self._handle = handle
        self._separator = "[\n"

    def add(self, results: Sequence[Result]) -> None:
        """Append the results of an image, one a line."""
        for result in results:
            self._handle.write(self._separator + json.dumps(result, separators=(",", ":")))
            self._separator = ",\n"

    def finish(self) -> None:
        """Close the list."""
        self._handle.write("[]\n" if self._separator == "[\n" else "\n]\n")


@contextmanager
def open_submission(folder: str | os.PathLike[str]) -> Iterator[Submission]:
    """Write `answer.json` and `answer.zip` (with `answer.json` at its root), whole or not at all.

    Args:
        folder: where the two files go.

    Yields:
        What takes the results.
    """
    answer = Path(folder) / "answer.json"
    with atomic_path(answer) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as handle:
        submission = Submission(handle)
        yield submission
        submission.finish()
    with (
        atomic_path(answer.with_suffix(".zip")) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.write(answer, answer.name)
