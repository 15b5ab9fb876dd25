"""Enumerate the pairs of boxes and instances that overlap, without visiting the others.

Anchors lie on grids, so the anchors that overlap an instance fill rectangles of cells, and the corners of such a
rectangle are a formula. Any other boxes are sorted into horizontal bands. There is no loop over instances and no
array of (boxes x instances) elements.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nucleiseg.models.anchor_grid import AnchorGrid

CELL_MARGIN = 1e-3
"""Cells added to each end of a range of cells, so that float32 rounding of anchors excludes no overlap."""

IOU_MARGIN = 1e-4
"""Share by which a smallest IoU is lowered, for the same reason."""


class Pairs(NamedTuple):
    """Candidates for a match.

    Attributes:
        box: (P,) int64 index of the anchor or proposal.
        gt: (P,) int64 index of the instance.
    """

    box: Tensor
    gt: Tensor

    @classmethod
    def concatenate(cls, parts: list["Pairs"]) -> "Pairs":
        """Return the pairs of all parts in one."""
        return cls(torch.cat([part.box for part in parts]), torch.cat([part.gt for part in parts]))


def anchor_pairs(grid: AnchorGrid, gt_boxes: Tensor, min_iou: float = 0.0) -> Pairs:
    """Enumerate, for every instance and cell anchor, the rectangle of cells whose anchors overlap the instance.

    An IoU of t needs an intersection of t / (1 + t) (area 1 + area 2), hence a width of at least that divided by
    the smaller height, and vice versa: the larger t, the smaller the rectangle.

    Args:
        grid: where the anchors lie.
        gt_boxes: (G, 4) float32 x1, y1, x2, y2 in pixels of the network's input.
        min_iou: pairs below this IoU may be left out.

    Returns:
        A superset of the pairs with IoU > 0 and IoU >= `min_iou`, none of them twice.
    """
    levels, offset = [], 0
    for cell, stride, shape, count in zip(grid.cell_anchors, grid.strides, grid.shapes, grid.counts, strict=True):
        pairs = _level_pairs(cell, stride, shape, gt_boxes, min_iou)
        levels.append(Pairs(pairs.box + offset, pairs.gt))
        offset += count
    return Pairs.concatenate(levels)


def _level_pairs(
    cell: Tensor, stride: tuple[int, int], shape: tuple[int, int], gt_boxes: Tensor, min_iou: float
) -> Pairs:
    anchors_per_cell = len(cell)
    anchor, instance = cell.double()[None], gt_boxes.double()[:, None]  # (1, A, 4), (G, 1, 4)
    width, height = _least_overlap(anchor, instance, min_iou)
    # (G * A) ranges of rows and of columns, the anchors of an instance innermost
    row, rows = _cell_range(anchor[..., 1::2], instance[..., 1::2], height, stride[0], shape[0])
    column, columns = _cell_range(anchor[..., 0::2], instance[..., 0::2], width, stride[1], shape[1])
    # each row of a rectangle is a run of anchors, `anchors_per_cell` apart
    combination, run_row = expand(torch.where(columns > 0, rows, 0), row)
    run_start = (run_row * shape[1] + column[combination]) * anchors_per_cell + combination % anchors_per_cell
    run, run_column = expand(columns[combination])
    return Pairs(run_start[run] + run_column * anchors_per_cell, (combination // anchors_per_cell)[run])


def _least_overlap(anchor: Tensor, instance: Tensor, min_iou: float) -> tuple[Tensor, Tensor]:
    """Return the width and the height that an intersection needs for `min_iou`, (G, A) each.

    Infinite where even the best position of the anchor does not give that IoU.
    """
    anchor_size, instance_size = anchor[..., 2:] - anchor[..., :2], instance[..., 2:] - instance[..., :2]
    smaller = torch.minimum(anchor_size, instance_size)  # (G, A, 2)
    if min_iou <= 0:
        return torch.zeros_like(smaller[..., 0]), torch.zeros_like(smaller[..., 0])
    iou = min_iou * (1 - IOU_MARGIN)
    least_area = iou / (1 + iou) * (anchor_size.prod(dim=-1) + instance_size.prod(dim=-1))
    impossible = smaller.prod(dim=-1) < least_area
    needed = least_area[..., None] / smaller.flip(-1)
    needed.masked_fill_(impossible[..., None], torch.inf)
    return needed[..., 0], needed[..., 1]


def _cell_range(anchor: Tensor, instance: Tensor, needed: Tensor, stride: int, cells: int) -> tuple[Tensor, Tensor]:
    """Find the cells along one axis whose anchors overlap instances by at least `needed` pixels.

    Those are the cells j with j * stride + anchor_end - instance_start >= needed and
    instance_end - j * stride - anchor_start >= needed.

    Args:
        anchor: (1, A, 2) start and end of the cell anchors along the axis.
        instance: (G, 1, 2) start and end of the instances.
        needed: (G, A) pixels.
        stride: pixels between two cells.
        cells: how many cells there are.

    Returns:
        The first cell and the number of cells, each (G * A,) int64.
    """
    first = (instance[..., 0] + needed - anchor[..., 1]) / stride - CELL_MARGIN
    last = (instance[..., 1] - needed - anchor[..., 0]) / stride + CELL_MARGIN
    first, last = first.ceil().clamp(0, cells), last.floor().clamp(-1, cells - 1)
    return first.long().flatten(), (last - first + 1).clamp(min=0).long().flatten()


def expand(counts: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Write out ranges: counts [2, 0, 3] from [5, 9, 1] give ranges [0, 0, 2, 2, 2] and values [5, 6, 1, 2, 3].

    Args:
        counts: (R,) int64 length of each range.
        start: (R,) int64 first value of each; 0 by default.

    Returns:
        The index of the range and the value in it, each (sum of counts,) int64.
    """
    index = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    shift = counts - counts.cumsum(0)  # minus the number of elements before each range
    if start is not None:
        shift = shift + start
    return index, torch.arange(len(index), device=counts.device) + shift[index]


def overlapping_pairs(boxes: Tensor, gt_boxes: Tensor) -> Pairs:
    """Enumerate the pairs of arbitrary boxes that overlap.

    The image is cut into horizontal bands as high as an average instance, and boxes are listed in each band that
    they touch. Within a band, two boxes overlap horizontally either if the instance starts inside the box or if
    the box starts inside the instance: two ranges in lists that are sorted by x. A pair that shares several bands
    is taken in the first of them only.

    Args:
        boxes: (B, 4) float32 x1, y1, x2, y2.
        gt_boxes: (G, 4) float32.

    Returns:
        A superset of the pairs with IoU > 0, none of them twice.
    """
    if len(boxes) == 0 or len(gt_boxes) == 0:
        empty = torch.zeros(0, dtype=torch.int64, device=boxes.device)
        return Pairs(empty, empty)
    height = (gt_boxes[:, 3] - gt_boxes[:, 1]).mean().clamp(min=1).double()
    left = torch.minimum(boxes[:, 0].min(), gt_boxes[:, 0].min()).double()
    right = torch.maximum(boxes[:, 2].max(), gt_boxes[:, 2].max()).double()
    pitch = right - left + 1  # the bands stand side by side on one line, so that one search serves them all
    box, band, box_start, box_end = _list_in_bands(boxes, height, left, pitch)
    gt, _, gt_start, gt_end = _list_in_bands(gt_boxes, height, left, pitch)
    entry, gt_entry = _starts_in_range(gt_start, box_start, box_end, open_low=False)
    other_gt_entry, other_entry = _starts_in_range(box_start, gt_start, gt_end, open_low=True)
    entry, gt_entry = torch.cat([entry, other_entry]), torch.cat([gt_entry, other_gt_entry])
    pairs = Pairs(box[entry], gt[gt_entry])
    top = torch.maximum(boxes[:, 1][pairs.box], gt_boxes[:, 1][pairs.gt])
    first_shared = (top.double() / height).floor().long() == band[entry]
    return Pairs(pairs.box[first_shared], pairs.gt[first_shared])


def _list_in_bands(boxes: Tensor, height: Tensor, left: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """List boxes once for each band they touch, sorted by their start on the line of all bands.

    Returns:
        For each entry the box's index, its band, and its start and end on the line (float64).
    """
    first = (boxes[:, 1].double() / height).floor().long()
    last = (boxes[:, 3].double() / height).floor().long()
    index, band = expand((last - first + 1).clamp(min=0), first)
    origin = band * pitch - left
    start, order = (boxes[:, 0].double()[index] + origin).sort()
    index, band = index[order], band[order]
    return index, band, start, boxes[:, 2].double()[index] + origin[order]


def _starts_in_range(starts: Tensor, low: Tensor, high: Tensor, *, open_low: bool) -> tuple[Tensor, Tensor]:
    """Pair each range with the sorted starts in [low, high], or in (low, high] if `open_low`."""
    first = torch.searchsorted(starts, low, right=open_low)
    count = torch.searchsorted(starts, high, right=True) - first
    return expand(count.clamp(min=0), first)
