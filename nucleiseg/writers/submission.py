"""COCO results, zipped as boards take them: `answer.json` by `write=[coco]`, `test-results.json` by `write=[vrdl2025]`.

[{"image_id": 7, "category_id": 1, "segmentation": {"size": [8, 8], "counts": "..."}, "bbox": [2, 1, 4, 6], ...},
"""

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypedDict

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
    """Every detection that the predictor keeps and whose mask has a pixel: average precision needs all of them.

    Attributes:
        answer: name of the file of all results; the zip has the same stem.
    """

    answer: ClassVar[str] = "answer.json"

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Return the results of one image."""
        results = to_results(image.prediction, image.rles, image.source.image_id)
        if image.category_ids is not None:
            for result in results:
                result["category_id"] = image.category_ids[result["category_id"] - 1]
        return results

    @contextmanager
    def assembly(self, folder: Path) -> Iterator[Add]:
        """Write the results, one a line, then the zip."""
        with open_items(folder / self.answer) as add_results:

            def add(image: FinishedImage) -> None:
                add_results(image.record)

            yield add
        write_zip(folder / self.answer)


class Vrdl2025Writer(CocoWriter):
    """Results for the board of the VRDL homework of 2025, whose category ids are those of `class1.tif` to `class4.tif`.

    A class is numbered by its name where that is one of these, and by its label elsewhere, so that a network that was
    trained on class2 and class4 alone answers 2 and 4.
    """

    answer: ClassVar[str] = "test-results.json"

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Return the results of one image with the board's numbers of classes."""
        results = to_results(image.prediction, image.rles, image.source.image_id)
        for result in results:
            named = re.fullmatch(r"class(\d+)", image.class_name(result["category_id"]))
            if named is not None:
                result["category_id"] = int(named[1])
        return results


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
    """Write a zip beside a file of results, with that file at its root: what a board takes."""
    with (
        atomic_path(answer.with_suffix(".zip")) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.write(answer, answer.name)
