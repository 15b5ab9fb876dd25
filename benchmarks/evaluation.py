"""How long every metric of crowded images takes, and how long pycocotools takes for the same average precision.

    python -m benchmarks.evaluation                                    # 6 images, 400 truths, 2,000 predictions each
    python -m benchmarks.evaluation images=6 truths=400 predictions=2000 repeats=3
    python -m benchmarks.evaluation stock_repeats=0                    # without pycocotools, which takes a minute

Ours is the whole of `evaluation.report.evaluate`: average precision of masks and boxes at all detections and at 100,
per class, by size and for each image, the ceiling, and the metrics of label maps. pycocotools computes average
precision of the images together alone, with the same ranges of size, its list of limits extended to all detections,
in one call for masks and another for boxes. That both find the same AP is checked.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks import options
from benchmarks.measure import Cost, in_child, measure
from benchmarks.result import Result, Row
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.report import Report, evaluate
from nucleiseg.evaluation.sizes import ALL_SIZES, SIZES
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.rle import RLE, Crop, compress, run_lengths

SIDE = 1000
"""Pixels of an image's side."""

REACH = 16
"""Pixels from a nucleus' centre that it may reach."""

TOLERANCE = 1e-6
"""By how much two figures for the same AP may differ."""

Kind = Literal["masks", "boxes"]

IOU_TYPE: dict[Kind, str] = {"masks": "segm", "boxes": "bbox"}
"""What pycocotools calls them."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        images: how many to draw.
        truths: nuclei in each.
        predictions: in each.
        repeats: calls of ours that count.
        stock_repeats: calls of pycocotools that count; 0 leaves it out.
    """

    images: int = 6
    truths: int = 400
    predictions: int = 2000
    repeats: int = 5
    stock_repeats: int = 1


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        images: how many to draw.
        truths: nuclei in each.
        predictions: in each.
        repeats: calls that count.
        kind: what pycocotools compares; ours always does both.
    """

    images: int
    truths: int
    predictions: int
    repeats: int
    kind: Kind = "masks"

    def draw(self) -> tuple[list[ImageTruth], list[Instances]]:
        """Draw the images, the same in every process."""
        pairs = [draw(number, self.truths, self.predictions) for number in range(self.images)]
        return [truth for truth, _ in pairs], [results for _, results in pairs]


class Side(NamedTuple):
    """What one implementation takes, and the AP at all detections that it finds."""

    cost: Cost
    ap: dict[Kind, float]


def main(chosen: Options) -> Result:
    """Measure ours and pycocotools, each in a process of its own.

    Raises:
        ValueError: if they find different average precisions.
    """
    size = (chosen.images, chosen.truths, chosen.predictions)
    ours = in_child(measure_ours, Case(*size, chosen.repeats))
    sides = {"ours: every metric": ours}
    if chosen.stock_repeats:
        for kind in IOU_TYPE:
            side = in_child(measure_pycocotools, Case(*size, chosen.stock_repeats, kind))
            check_equal(kind, ours.ap[kind], side.ap[kind])
            sides[f"pycocotools: AP of {kind}"] = side
        sides["pycocotools: both"] = together(list(sides.values())[1:])
    title = (
        f"{chosen.images} images of {SIDE} x {SIDE}, {chosen.truths:,} truths and {chosen.predictions:,} predictions "
        f"in each: median of {chosen.repeats} (pycocotools {chosen.stock_repeats})"
    )
    return Result("evaluation", title, [row(name, side, ours) for name, side in sides.items()])


def row(name: str, side: Side, ours: Side) -> Row:
    """Set one implementation beside ours."""
    return {
        "what": name,
        "seconds": side.cost.seconds,
        "CPU seconds": side.cost.cpu_seconds,
        "peak memory, MB": side.cost.memory_mb,
        "seconds / ours": side.cost.seconds / ours.cost.seconds,
        "AP of masks": side.ap.get("masks"),
        "AP of boxes": side.ap.get("boxes"),
    }


def together(sides: Sequence[Side]) -> Side:
    """Return what calls one after the other take: their times add up, and the greatest peak stays."""
    peaks = [side.cost.memory_mb for side in sides if side.cost.memory_mb is not None]
    cost = Cost(
        sum(side.cost.seconds for side in sides),
        sum(side.cost.cpu_seconds for side in sides),
        max(peaks, default=None),
    )
    return Side(cost, {kind: ap for side in sides for kind, ap in side.ap.items()})


def check_equal(kind: Kind, ours: float, theirs: float) -> None:
    """Make sure that both found the same.

    Raises:
        ValueError: if they did not.
    """
    if abs(ours - theirs) > TOLERANCE:
        raise ValueError(f"AP of {kind} is {ours}, but {theirs} by pycocotools")


def measure_ours(case: Case) -> Side:
    """Compute every metric several times."""
    truths, results = case.draw()
    found = {truth.image_id: result for truth, result in zip(truths, results, strict=True)}
    reports: list[Report] = []
    cost = measure(lambda _: reports.append(evaluate(truths, found)), case.repeats)
    at_all = reports[-1].ap.at_all
    return Side(cost, {"masks": at_all.masks.ap, "boxes": at_all.boxes.ap})


def measure_pycocotools(case: Case) -> Side:
    """Let pycocotools compute average precision, without a call before: it has nothing to warm up."""
    truths, results = case.draw()
    aps: list[float] = []
    cost = measure(lambda _: aps.append(pycocotools_ap(truths, results, IOU_TYPE[case.kind])), case.repeats, warmup=0)
    return Side(cost, {case.kind: aps[-1]})


def pycocotools_ap(truths: Sequence[ImageTruth], results: Sequence[Instances], iou_type: str) -> float:
    """Return AP at all detections by pycocotools, its data sets built from the same objects.

    Args:
        truths: the images.
        results: what was found in each.
        iou_type: `segm` or `bbox`.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        engine = COCOeval(_dataset(truths), _dataset(results), iou_type)
        engine.params.maxDets = [1, 10, 100, max(len(result.masks) for result in results)]
        engine.params.areaRng = [[size.least, size.most] for size in (ALL_SIZES, *SIZES)]
        engine.params.areaRngLbl = [size.name for size in (ALL_SIZES, *SIZES)]
        engine.evaluate()
        engine.accumulate()
    return float(engine.eval["precision"][:, :, :, 0, 3].mean())


def draw(number: int, nuclei: int, predictions: int) -> tuple[ImageTruth, Instances]:
    """Draw an image: discs as truth; displaced copies of them and others elsewhere, half each, as predictions."""
    generator = np.random.default_rng(number)
    low, high = (REACH, REACH, 5), (SIDE - REACH, SIDE - REACH, 14)
    true = generator.uniform(low, high, (nuclei, 3))
    near = true[np.arange(predictions // 2) % nuclei] + generator.normal(0, 2, (predictions // 2, 3))
    elsewhere = generator.uniform(low, high, (predictions - len(near), 3))
    found = np.clip(np.concatenate([near, elsewhere]), low, high)
    truth = ImageTruth(
        name=str(number), image_id=number, height=SIDE, width=SIDE, masks=discs(true), labels=[1] * nuclei
    )
    return truth, Instances(discs(found), generator.random(predictions).tolist(), [1] * predictions)


def discs(places: np.ndarray) -> list[RLE]:
    """Encode discs, given by (row, column, radius)."""
    rows, columns = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    distance = rows**2 + columns**2
    crops = [Crop(int(row) - REACH, int(column) - REACH, distance <= radius**2) for row, column, radius in places]
    return compress([run_lengths(crop, SIDE, SIDE) for crop in crops], SIDE, SIDE)


def _dataset(images: Sequence[ImageTruth | Instances]) -> COCO:
    dataset = COCO()
    annotations: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        scores = image.scores if isinstance(image, Instances) else [1.0] * len(image.masks)
        for mask, label, score in zip(image.masks, image.labels, scores, strict=True):
            annotation = {"image_id": number, "category_id": label, "segmentation": dict(mask), "iscrowd": 0}
            annotation |= {"id": len(annotations) + 1, "score": score, "bbox": coco_mask.toBbox(mask).tolist()}
            annotations.append(annotation | {"area": float(coco_mask.area(mask))})
    entries = [{"id": number, "height": SIDE, "width": SIDE} for number in range(len(images))]
    dataset.dataset = {"images": entries, "annotations": annotations, "categories": [{"id": 1}]}
    dataset.createIndex()
    return dataset


if __name__ == "__main__":
    options.run(Options, main)
