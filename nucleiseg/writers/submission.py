"""`write=[coco]`: COCO results in `answer.json`, and zipped in `answer.zip`, which CodaLab boards take."""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from pycocotools import mask as coco_mask

from nucleiseg.files import atomic_path
from nucleiseg.inference.image_ids import ImageId
from nucleiseg.rle import RLE, area
from nucleiseg.structures import Prediction
from nucleiseg.writers.base import Add, FinishedImage, PredictedImage, Record, Writer


class Result(TypedDict):
    """One instance, in the format of https://cocodataset.org/#format-results."""

    image_id: ImageId
    category_id: int
    segmentation: RLE
    bbox: list[float]
    score: float


class CocoWriter(Writer):
    """Every detection that the predictor keeps and whose mask has a pixel: average precision needs all of them."""

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Return the results of one image."""
        return to_results(image.prediction, image.rles, image.source.image_id)

    @contextmanager
    def assembly(self, folder: Path) -> Iterator[Add]:
        """Write `answer.json`, one result a line, then `answer.zip`."""
        with open_items(folder / "answer.json") as add_results:

            def add(image: FinishedImage) -> None:
                add_results(image.record)

            yield add
        write_zip(folder / "answer.json")


def to_results(prediction: Prediction, rles: Sequence[RLE], image_id: ImageId) -> list[Result]:
    """Return the COCO results of one image.

    Args:
        prediction: the image's instances.
        rles: their masks (`inference.box_masks.to_rle`).
        image_id: the image's id in the file.

    Returns:
        One result for each instance whose mask has a pixel. `category_id` is the label (1, 2, ...); `bbox` is the
        x, y, width, height of the mask, tight, as COCO defines an annotation's box (the network's own box is larger or
        smaller than its mask).
    """
    masks = list(rles)
    boxes = coco_mask.toBbox(masks).tolist() if masks else []
    columns = zip(prediction.labels.tolist(), masks, boxes, prediction.scores.tolist(), area(masks), strict=True)
    return [
        Result(image_id=image_id, category_id=label, segmentation=mask, bbox=box, score=round(score, 6))
        for label, mask, box, score, pixels in columns
        if pixels > 0
    ]


@contextmanager
def open_items(path: Path) -> Iterator[Callable[[Iterable[Any]], None]]:
    """Write a JSON list, one item a line, whole or not at all; memory does not grow with their number.

    Args:
        path: the file.

    Yields:
        A function that appends items.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as handle,
    ):
        separator = "[\n"

        def add(items: Iterable[Any]) -> None:
            nonlocal separator
            for item in items:
                handle.write(separator + json.dumps(item, ensure_ascii=False, separators=(",", ":")))
                separator = ",\n"

        yield add
        handle.write("[]\n" if separator == "[\n" else "\n]\n")


def write_zip(answer: Path) -> None:
    """Write a zip beside `answer.json`, with that file at its root: what a board takes."""
    with (
        atomic_path(answer.with_suffix(".zip")) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.write(answer, answer.name)
