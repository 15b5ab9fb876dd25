"""Measure how cost grows with the number of nuclei and with the size of the image.

    python -m benchmarks.scaling                                      # 50 to 5,000 nuclei in 1000 x 1000
    python -m benchmarks.scaling axis=size sizes=256,512,768,1024     # r18_fpn: a training step and a prediction
    python -m benchmarks.scaling axis=size model=r50_fpn repeats=1

By nuclei: the targets of a training step with the anchors of an FPN (matching anchors and 1,000 proposals, 128 masks),
beside stock's dense matching and masks if they fit into memory. The rest of a step does not depend on the nuclei;
`sample_loading` and `paste_rle` measure the stages before and after. By size: the cost of the network.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.models.detection.roi_heads import project_masks_on_boxes
from torchvision.ops import box_iou

from benchmarks import options, prediction, training_step
from benchmarks.discs import as_mask_stack, as_target, sample_discs
from benchmarks.measure import Cost, in_child, measure
from benchmarks.networks import spread_around
from benchmarks.result import Result, Row
from benchmarks.stock import RATIOS, SIZES
from nucleiseg.models.anchor_grid import AnchorGrid
from nucleiseg.models.anchors import GridAnchorGenerator, sizes_per_level
from nucleiseg.models.mask_targets import mask_targets
from nucleiseg.models.matching import match_anchors, match_boxes
from nucleiseg.models.numerics import DETECTRON2

STRIDES = (4, 8, 16, 32, 64)
"""Strides of an FPN's maps in pixels."""

PROPOSALS, MASKS, GRID = 1000, 128, 28
"""Proposals per image in training, RoIs with a mask target, and the side of the masks."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        axis: nuclei or size.
        nuclei: numbers of nuclei in an image of `size` x `size`.
        size: side of the image in pixels.
        sizes: sides of the images for `axis=size`.
        model: model for `axis=size`.
        repeats: measured calls.
        stock_limit: most nuclei for stock, whose dense IoUs take 4 bytes for each pair of nucleus and anchor, several
            times over.
        threads: CPU threads.
    """

    axis: str = "nuclei"
    nuclei: tuple[int, ...] = (50, 200, 500, 1000, 2000, 5000)
    size: int = 1000
    sizes: tuple[int, ...] = (256, 512, 768, 1024)
    model: str = "r18_fpn"
    repeats: int = 5
    stock_limit: int = 1000
    threads: int = 2


@dataclass(frozen=True)
class Case:
    """One number of nuclei: see `Options`."""

    nuclei: int
    size: int
    repeats: int
    threads: int


def main(chosen: Options) -> Result:
    """Measure along one axis, each case in a fresh process."""
    if chosen.axis == "size":
        rows = [size_row(side, chosen) for side in chosen.sizes]
        return Result("scaling", f"{chosen.model}: cost by the size of the image, 1 nucleus per 2,000 pixels", rows)
    rows = [nuclei_row(count, chosen) for count in chosen.nuclei]
    title = f"Cost by the number of nuclei in {chosen.size} x {chosen.size}, {chosen.threads} threads"
    return Result("scaling", f"{title}, median of {chosen.repeats}", rows)


def nuclei_row(count: int, chosen: Options) -> Row:
    """Measure the targets for one number of nuclei; stock's up to its limit."""
    case = Case(count, chosen.size, chosen.repeats, chosen.threads)
    ours = in_child(ours_targets, case)
    cells: Row = {"nuclei": count, "ours, ms": 1000 * ours.seconds, "ours, MB": ours.memory_mb}
    stock = in_child(stock_targets, case) if count <= chosen.stock_limit else None
    return cells | {
        "stock, ms": stock and 1000 * stock.seconds,
        "stock, MB": stock and stock.memory_mb,
        "stock / ours": stock and stock.seconds / ours.seconds,
    }


def size_row(side: int, chosen: Options) -> Row:
    """Measure a training step and a prediction at one size."""
    nuclei = max(side**2 // 2000, 1)
    shared = {"model": chosen.model, "threads": chosen.threads, "precision": "float32", "device": "cpu"}
    step = in_child(
        training_step.measure_step,
        training_step.Case(nuclei=nuclei, crop=side, batch=1, steps=chosen.repeats, **shared),  # type: ignore[arg-type]
    )
    predicted = in_child(
        prediction.measure_prediction,
        prediction.Case(detections=nuclei, size=side, repeats=chosen.repeats, **shared),  # type: ignore[arg-type]
    )
    megapixels = side**2 / 1e6
    return {
        "side": side,
        "nuclei": nuclei,
        "step, s": step.seconds,
        "step, s per 10^6 pixels": step.seconds / megapixels,
        "step, MB": step.memory_mb,
        "prediction, s": predicted["seconds"],
        "prediction, MB": predicted["peak memory, MB"],
    }


def anchor_grid(side: int) -> AnchorGrid:
    """Build the anchors of an FPN for an image of side x side."""
    generator = GridAnchorGenerator(
        sizes=sizes_per_level(SIZES, len(STRIDES)), strides=STRIDES, ratios=RATIOS, numerics=DETECTRON2
    )
    maps = [torch.empty(1, 1, -(-side // stride), -(-side // stride)) for stride in STRIDES]
    return generator.grid((side, side), maps)


def ours_targets(case: Case) -> Cost:
    """Time sparse matching and mask targets sampled from the label map."""
    torch.set_num_threads(case.threads)
    target = as_target(sample_discs(case.nuclei, case.size))
    proposals = spread_around(target.boxes, PROPOSALS)

    def work(_: int) -> None:
        grid = anchor_grid(case.size)
        match_anchors(grid, grid.boxes(), target.boxes, high=0.7, low=0.3)
        matches = match_boxes(proposals, target.boxes, high=0.5, low=0.5)
        mask_targets(target, proposals[:MASKS], matches.gt[:MASKS], GRID)

    return measure(work, case.repeats)


def stock_targets(case: Case) -> Cost:
    """Time dense matching and resized masks."""
    torch.set_num_threads(case.threads)
    target = as_mask_stack(sample_discs(case.nuclei, case.size))
    boxes, masks = target["boxes"], target["masks"]
    proposals = spread_around(boxes, PROPOSALS)
    anchors = anchor_grid(case.size).boxes()
    anchor_matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
    proposal_matcher = Matcher(0.5, 0.5, allow_low_quality_matches=False)

    def work(_: int) -> Tensor:
        anchor_matcher(box_iou(boxes, anchors))
        matched = proposal_matcher(box_iou(boxes, proposals)).clamp(min=0)
        return project_masks_on_boxes(masks, proposals[:MASKS], matched[:MASKS], GRID)

    return measure(work, case.repeats)


if __name__ == "__main__":
    options.run(Options, main)
