"""How long every metric of crowded images takes, and how long pycocotools takes for the same average precision.

    python -m benchmarks.evaluation                                    # 6 images, 400 truths, 2,000 predictions each
    python -m benchmarks.evaluation images=6 truths=400 predictions=2000 repeats=3
    python -m benchmarks.evaluation oracle=false                       # without pycocotools, which takes a minute

Ours is the whole of `evaluation.report.evaluate`: average precision of masks and boxes at all detections and at 100,
per class, by size and for each image, the ceiling, and the metrics of label maps. pycocotools computes average
precision of the images together alone, with the same ranges of size, its list of limits extended to all detections.
That both find the same AP is checked. The last line is JSON.
"""

import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table

from nucleiseg.errors import InputError
from nucleiseg.evaluation.report import Report, evaluate
from nucleiseg.evaluation.results import ImageResults
from nucleiseg.evaluation.sizes import ALL_SIZES, SIZES
from nucleiseg.evaluation.truth import ImageId, ImageTruth
from nucleiseg.inference.box_masks import RLE, Crop, compress, run_lengths

SIDE = 1000
"""Pixels of an image's side."""

REACH = 16
"""Pixels from a nucleus' centre that it may reach."""

DEFAULTS = {"images": "6", "truths": "400", "predictions": "2000", "repeats": "5", "oracle": "true"}


def main(arguments: Sequence[str]) -> None:
    """Measure, and print a table and a line of JSON.

    Args:
        arguments: `key=value` words as on the command line.

    Raises:
        InputError: for an unknown key.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := given.keys() - DEFAULTS.keys():
        raise InputError(f"Not a key: {', '.join(sorted(unknown))}; there are {', '.join(DEFAULTS)}.")
    options = DEFAULTS | given
    count, nuclei, predictions, repeats = (int(options[key]) for key in ("images", "truths", "predictions", "repeats"))
    pairs = [draw(number, nuclei, predictions) for number in range(count)]
    truths, found = [truth for truth, _ in pairs], {truth.image_id: results for truth, results in pairs}
    report = evaluate(truths, found)  # not measured: imports, and the first touch of memory
    seconds = {"evaluate": statistics.median(clock(lambda: evaluate(truths, found)) for _ in range(repeats))}
    if options["oracle"] == "true":
        for kind, name in (("segm", "masks"), ("bbox", "boxes")):
            seconds[f"pycocotools_{name}"] = clock(lambda kind=kind: compare(truths, found, kind, report))  # type: ignore[misc]
        both = seconds["pycocotools_masks"] + seconds["pycocotools_boxes"]
        seconds |= {"times_as_fast_as_masks_alone": seconds["pycocotools_masks"] / seconds["evaluate"]}
        seconds |= {"times_as_fast": both / seconds["evaluate"]}
    title = f"{count} images of {SIDE} x {SIDE}, {nuclei:,} truths and {predictions:,} predictions in each"
    Console(width=100).print(as_table(title, seconds))
    print(json.dumps({key: round(value, 3) for key, value in seconds.items()}))


def draw(number: int, nuclei: int, predictions: int) -> tuple[ImageTruth, ImageResults]:
    """Draw an image: discs as truth; displaced copies of them and others elsewhere, half each, as predictions."""
    generator = np.random.default_rng(number)
    low, high = (REACH, REACH, 5), (SIDE - REACH, SIDE - REACH, 14)
    true = generator.uniform(low, high, (nuclei, 3))
    near = true[np.arange(predictions // 2) % nuclei] + generator.normal(0, 2, (predictions // 2, 3))
    elsewhere = generator.uniform(low, high, (predictions - len(near), 3))
    found = np.clip(np.concatenate([near, elsewhere]), low, high)
    truth = ImageTruth(str(number), number, SIDE, SIDE, discs(true), [1] * nuclei)
    return truth, ImageResults(discs(found), generator.random(predictions).tolist(), [1] * predictions)


def discs(places: np.ndarray) -> list[RLE]:
    """Encode discs, given by (row, column, radius)."""
    rows, columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    distance = rows**2 + columns**2
    crops = [Crop(int(row) - REACH, int(column) - REACH, distance <= radius**2) for row, column, radius in places]
    return compress([run_lengths(crop, SIDE, SIDE) for crop in crops], SIDE, SIDE)


def clock(work: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(truths: Sequence[ImageTruth], found: Mapping[ImageId, ImageResults], kind: str, report: Report) -> None:
    """Let pycocotools compute the same average precision.

    Raises:
        ValueError: if it finds another one.
    """
    most = max(len(results.masks) for results in found.values())
    with contextlib.redirect_stdout(io.StringIO()):
        engine = COCOeval(_dataset(truths), _dataset([found[truth.image_id] for truth in truths]), kind)
        engine.params.maxDets = [1, 10, 100, most]
        engine.params.areaRng = [[size.least, size.most] for size in (ALL_SIZES, *SIZES)]
        engine.params.areaRngLbl = [size.name for size in (ALL_SIZES, *SIZES)]
        engine.evaluate()
        engine.accumulate()
    ours = report.ap.at_all.masks if kind == "segm" else report.ap.at_all.boxes
    theirs = engine.eval["precision"][:, :, :, 0, 3].mean()
    if abs(ours.ap - theirs) > 1e-6:
        raise ValueError(f"AP ({kind}) is {ours.ap}, but {theirs} by pycocotools")


def _dataset(images: Sequence[ImageTruth | ImageResults]) -> COCO:
    dataset = COCO()
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        scores = image.scores if isinstance(image, ImageResults) else [1.0] * len(image.masks)
        for mask, label, score in zip(image.masks, image.labels, scores, strict=True):
            annotation = {"image_id": number, "category_id": label, "segmentation": dict(mask), "iscrowd": 0}
            annotation |= {"id": len(annotations) + 1, "score": score, "bbox": coco_mask.toBbox(mask).tolist()}
            annotations.append(annotation | {"area": float(coco_mask.area(mask))})
    entries = [{"id": number, "height": SIDE, "width": SIDE} for number in range(len(images))]
    dataset.dataset = {"images": entries, "annotations": annotations, "categories": [{"id": 1}]}
    dataset.createIndex()
    return dataset


def as_table(title: str, seconds: dict[str, float]) -> Table:
    """Return the measurements as a table."""
    table = Table(title=title)
    table.add_column("what")
    table.add_column("seconds, or times", justify="right")
    for key, value in seconds.items():
        table.add_row(key.replace("_", " "), f"{value:.2f}")
    return table


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
