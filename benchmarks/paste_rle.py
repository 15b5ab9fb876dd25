"""Time pasting the masks of an image and encoding them as run lengths.

    python -m benchmarks.paste_rle                                    # 50 to 5,000 detections in 1000 x 1000
    python -m benchmarks.paste_rle size=2000 detections=500

Ours pastes each mask inside its box and encodes the crop; stock is torchvision's `paste_masks_in_image`, a threshold at
0.5 and `pycocotools.mask.encode` one by one. One thread, because ours uses only one.
"""

from dataclasses import dataclass

import torch
from torchvision.models.detection.roi_heads import paste_masks_in_image

from benchmarks import options, stock
from benchmarks.discs import sample_discs
from benchmarks.measure import Cost, in_child, measure
from benchmarks.result import Result, Row, relation
from nucleiseg.inference.box_masks import to_rle
from nucleiseg.structures import Pasting, Prediction

GRID = 28
"""Side of a mask of the FPN models."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        detections: numbers of detections.
        size: side of the image in pixels.
        repeats: measured calls of ours.
        stock_repeats: measured calls of stock.
        stock_limit: most detections for stock, which takes 8 MB for each in an image of 1000 x 1000.
        threads: CPU threads.
    """

    detections: tuple[int, ...] = (50, 500, 1000, 2000, 5000)
    size: int = 1000
    repeats: int = 20
    stock_repeats: int = 3
    stock_limit: int = 1000
    threads: int = 1


@dataclass(frozen=True)
class Case:
    """One measurement.

    Attributes:
        detections: number of detections.
        size: side of the image in pixels.
        repeats: measured calls.
        threads: CPU threads.
        pasting: pasting rule.
    """

    detections: int
    size: int
    repeats: int
    threads: int
    pasting: Pasting = "detectron2"

    def prediction(self) -> Prediction:
        """Make detections that do not overlap, each with a disc as its mask."""
        boxes = torch.from_numpy(sample_discs(self.detections, self.size).boxes) + 0.3
        positions = torch.linspace(-1, 1, GRID)
        disc = torch.sigmoid(4 * (1 - positions[:, None] ** 2 - positions**2))
        return Prediction(
            boxes=boxes,
            scores=torch.linspace(1, 0.05, self.detections),
            labels=torch.ones(self.detections, dtype=torch.int64),
            masks=disc.repeat(self.detections, 1, 1),
            size=(self.size, self.size),
            pasting=self.pasting,
        )


def main(chosen: Options) -> Result:
    """Measure every number of detections in both implementations, ours with both pasting rules."""
    rows = [row(count, chosen) for count in chosen.detections]
    repeats = f"median of {chosen.repeats} (stock {chosen.stock_repeats})"
    title = f"Pasting and run lengths in {chosen.size} x {chosen.size}, {chosen.threads} thread: {repeats}"
    return Result("paste_rle", title, rows)


def row(count: int, chosen: Options) -> Row:
    """Measure one number of detections; stock up to its limit."""
    case = Case(count, chosen.size, chosen.repeats, chosen.threads)
    ours = in_child(measure_ours, case)
    as_stock = in_child(measure_ours, Case(count, chosen.size, chosen.repeats, chosen.threads, "torchvision"))
    cells: Row = {
        "detections": count,
        "ours, ms": 1000 * ours.seconds,
        "ours by torchvision's rule, ms": 1000 * as_stock.seconds,
        "ours, MB": ours.memory_mb,
        "stock, ms": None,
        "stock, MB": None,
    }
    if count <= chosen.stock_limit:
        theirs = in_child(measure_stock, Case(count, chosen.size, chosen.stock_repeats, chosen.threads))
        cells |= {"stock, ms": 1000 * theirs.seconds, "stock, MB": theirs.memory_mb}
    return {**cells, "stock / ours": relation({"ratio": cells["stock, ms"]}, {"ratio": cells["ours, ms"]}, "ratio")}


def measure_ours(case: Case) -> Cost:
    """Time encoding each mask from its box."""
    torch.set_num_threads(case.threads)
    prediction = case.prediction()
    return measure(lambda _: to_rle(prediction), case.repeats)


def measure_stock(case: Case) -> Cost:
    """Time pasting full-size masks and encoding them."""
    torch.set_num_threads(case.threads)
    prediction = case.prediction()
    masks = prediction.masks[:, None]
    return measure(lambda _: stock.encode(paste_masks_in_image(masks, prediction.boxes, prediction.size)), case.repeats)


if __name__ == "__main__":
    options.run(Options, main)
