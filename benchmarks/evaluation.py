"""Time all metrics of crowded images, beside pycocotools for the same average precision.

    python -m benchmarks.evaluation                                    # 6 images, 400 truths, 2,000 predictions each
    python -m benchmarks.evaluation images=6 truths=400 predictions=2000 repeats=3
    python -m benchmarks.evaluation stock_repeats=0                    # without pycocotools, which takes a minute

Ours is the whole of `evaluation.report.evaluate`: average precision of masks and boxes at all detections and at 100,
per class, by size and for each image, the ceiling, and the metrics of label maps. pycocotools computes only the average
precision of all images together, with the same ranges of size and its list of limits extended to all detections, in one
call for masks and another for boxes. The benchmark checks that both give the same AP.
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
"""Greatest radius of a nucleus in pixels."""

TOLERANCE = 1e-6
"""Accepted difference between two computations of the same AP."""

Kind = Literal["masks", "boxes"]

IOU_TYPE: dict[Kind, str] = {"masks": "segm", "boxes": "bbox"}
"""Their names in pycocotools."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        images: number of synthetic images.
        truths: nuclei per image.
        predictions: predictions per image.
        repeats: measured calls of nucleiseg.
        stock_repeats: measured calls of pycocotools; 0 skips it.
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
        images: number of synthetic images.
        truths: nuclei per image.
        predictions: predictions per image.
        repeats: measured calls.
        kind: masks or boxes, for pycocotools; nucleiseg always computes both.
    """

    images: int
    truths: int
    predictions: int
    repeats: int
    kind: Kind = "masks"

    def synthesize(self) -> tuple[list[ImageTruth], list[Instances]]:
        """Make the images, the same in every process."""
        pairs = [synthesize(number, self.truths, self.predictions) for number in range(self.images)]
        return [truth for truth, _ in pairs], [results for _, results in pairs]


class Side(NamedTuple):
    """Cost of one implementation, and its AP at all detections."""

    cost: Cost
    ap: dict[Kind, float]


def main(chosen: Options) -> Result:
    """Measure nucleiseg and pycocotools, each in a fresh process.

    Raises:
        ValueError: if their average precisions differ.
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
    """Return one implementation's row, relative to nucleiseg."""
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
    """Return the cost of consecutive calls: times are summed, memory is the greatest peak."""
    peaks = [side.cost.memory_mb for side in sides if side.cost.memory_mb is not None]
    cost = Cost(
        sum(side.cost.seconds for side in sides),
        sum(side.cost.cpu_seconds for side in sides),
        max(peaks, default=None),
    )
    return Side(cost, {kind: ap for side in sides for kind, ap in side.ap.items()})


def check_equal(kind: Kind, ours: float, theirs: float) -> None:
    """Compare two computations of an AP.

    Raises:
        ValueError: if they differ by more than `TOLERANCE`.
    """
    if abs(ours - theirs) > TOLERANCE:
        raise ValueError(f"AP of {kind} is {ours}, but {theirs} by pycocotools")


def measure_ours(case: Case) -> Side:
    """Time all metrics of nucleiseg."""
    truths, results = case.synthesize()
    found = {truth.image_id: result for truth, result in zip(truths, results, strict=True)}
    reports: list[Report] = []
    cost = measure(lambda _: reports.append(evaluate(truths, found)), case.repeats)
    at_all = reports[-1].ap.at_all
    return Side(cost, {"masks": at_all.masks.ap, "boxes": at_all.boxes.ap})


def measure_pycocotools(case: Case) -> Side:
    """Time the average precision of pycocotools, without warm-up, which it does not need."""
    truths, results = case.synthesize()
    aps: list[float] = []
    cost = measure(lambda _: aps.append(pycocotools_ap(truths, results, IOU_TYPE[case.kind])), case.repeats, warmup=0)
    return Side(cost, {case.kind: aps[-1]})


def pycocotools_ap(truths: Sequence[ImageTruth], results: Sequence[Instances], iou_type: str) -> float:
    """Compute AP at all detections with pycocotools.

    Args:
        truths: ground truth of each image.
        results: results of each image.
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


def synthesize(number: int, nuclei: int, predictions: int) -> tuple[ImageTruth, Instances]:
    """Make an image: discs as truth; as predictions, half displaced copies of them, half discs elsewhere."""
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
        scores = image.scores or [1.0] * len(image.masks)
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
