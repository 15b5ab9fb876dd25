"""Match boxes with instances as torchvision does, to the bit, from the overlapping pairs only.

A dense matcher fills an array of (instances x boxes) IoUs: 2,000 nuclei and the 92,355 anchors of a 608 x 608 input
make 185 million, nearly all of them 0. Here the pairs that matter are enumerated (see `overlaps`), and everything
else follows from those:

- a box's match is the instance of largest IoU, the first of equals;
- the low-quality rule accepts every box that attains an instance's largest IoU. If that IoU is 0, all boxes do.

Measured on one CPU core for a 608 x 608 input: the 92,355 anchors of an FPN with 50, 600 and 2,000 nuclei of 10 to 40
pixels take 2, 5 and 15 ms (dense: 0.16, 1.5 and 9.6 s), the 21,660 of C4 take 3, 7 and 17 ms, and 2,000 proposals with
2,000 nuclei take 31 ms (dense: 320 ms).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from nucleiseg.models.anchor_grid import AnchorGrid
from nucleiseg.models.overlaps import Pairs, anchor_pairs, overlapping_pairs

DENSE_LIMIT = 4_000_000
"""IoUs (boxes x instances) up to which a GPU makes all of them: 16 MB an array, 2,000 proposals with 2,000 nuclei."""


@dataclass(frozen=True)
class Matches:
    """The match of each box.

    Attributes:
        gt: (B,) int64 index of the instance with the largest IoU, the lowest of equals; 0 where nothing overlaps.
        iou: (B,) float32, that IoU.
        label: (B,) int8, 1 for a match, 0 for background, -1 for neither (to be ignored).
    """

    gt: Tensor
    iou: Tensor
    label: Tensor


def match_anchors(
    grid: AnchorGrid, anchors: Tensor, gt_boxes: Tensor, *, high: float, low: float, low_quality: bool = True
) -> Matches:
    """Match the anchors of an input with instances; see `match`.

    Only pairs that can decide a label are compared: `gt` and `iou` of background anchors are undefined.

    Args:
        grid: where the anchors lie.
        anchors: `grid.boxes()`, (B, 4) float32.
        gt_boxes: (G, 4) float32 x1, y1, x2, y2 in pixels of the network's input.
        high: label 1 at this IoU or above.
        low: label 0 below this IoU.
        low_quality: each instance also gets the anchors that overlap it most, however small the overlap.
    """
    pairs = anchor_pairs(grid, gt_boxes, min_iou=low)
    if low_quality and len(gt_boxes):
        pairs = _with_low_quality_pairs(grid, anchors, gt_boxes, pairs, low)
    return match(anchors, gt_boxes, pairs, high=high, low=low, low_quality=low_quality)


def match_boxes(boxes: Tensor, gt_boxes: Tensor, *, high: float, low: float, low_quality: bool = False) -> Matches:
    """Match any boxes, such as proposals, with instances; see `match`, also for the arguments.

    On a GPU a moderate array of all IoUs costs less than the launches that avoid it.
    """
    if boxes.is_cuda and 0 < len(boxes) * len(gt_boxes) <= DENSE_LIMIT:
        return match_densely(boxes, gt_boxes, high=high, low=low, low_quality=low_quality)
    return match(boxes, gt_boxes, overlapping_pairs(boxes, gt_boxes), high=high, low=low, low_quality=low_quality)


def match(
    boxes: Tensor, gt_boxes: Tensor, pairs: Pairs, *, high: float, low: float, low_quality: bool = False
) -> Matches:
    """Match boxes with instances as torchvision's `box_iou` and `Matcher` (and detectron2's) do.

    One difference: two boxes without area have IoU 0 here, where the dense formula divides 0 by 0.

    Args:
        boxes: (B, 4) float32 x1, y1, x2, y2.
        gt_boxes: (G, 4) float32; G may be 0: then all boxes are background.
        pairs: candidates, a superset of the overlapping pairs; duplicates do no harm.
        high: label 1 at this IoU or above.
        low: label 0 below this IoU; -1 from `low` to `high`.
        low_quality: label 1 also for boxes that attain the largest IoU of any instance (ties included). Their
            match remains the instance that *they* overlap most, which may be another.
    """
    pairs, iou = _positive_iou(boxes, gt_boxes, pairs)
    best = _largest(iou, pairs.box, len(boxes))
    is_best = iou == best[pairs.box]
    gt = torch.full((len(boxes),), len(gt_boxes), device=boxes.device)
    gt.scatter_reduce_(0, pairs.box[is_best], pairs.gt[is_best], "amin")
    gt.masked_fill_(gt == len(gt_boxes), 0)
    label = _label(best, high, low)
    if low_quality and len(gt_boxes):
        best_of_gt = _largest(iou, pairs.gt, len(gt_boxes))
        label[pairs.box[iou == best_of_gt[pairs.gt]]] = 1
        label.masked_fill_((best_of_gt == 0).any(), 1)
    return Matches(gt, best, label)


def match_densely(boxes: Tensor, gt_boxes: Tensor, *, high: float, low: float, low_quality: bool = False) -> Matches:
    """Match boxes with at least one instance through the array of all IoUs, in some twenty operators; see `match`."""
    a, b = boxes[None], gt_boxes[:, None]
    intersection = _intersection(a, b)
    iou = torch.where(intersection > 0, _iou(a, b, intersection), 0.0)  # (G, B)
    best, gt = iou.max(dim=0)  # the first of equals, as torch documents
    label = _label(best, high, low)
    if low_quality:
        label.masked_fill_((iou == iou.amax(dim=1, keepdim=True)).any(dim=0), 1)
    return Matches(gt, best, label)


def _label(best: Tensor, high: float, low: float) -> Tensor:
    """Return (B,) int8 labels of boxes by their largest IoUs, without the low-quality rule."""
    label = (best >= high).to(torch.int8)
    return label.masked_fill_((best >= low) & (best < high), -1)


def _with_low_quality_pairs(grid: AnchorGrid, anchors: Tensor, gt_boxes: Tensor, pairs: Pairs, low: float) -> Pairs:
    """Add what the low-quality rule needs to the pairs of IoU >= `low`.

    An instance that has such a pair has its largest IoU among them. For the others, all overlapping anchors are
    compared, and those that win get all their pairs, since their match is their own best instance.
    """
    close, iou = _positive_iou(anchors, gt_boxes, pairs)
    served = torch.zeros(len(gt_boxes), dtype=torch.bool, device=gt_boxes.device)
    served[close.gt[iou >= low]] = True
    rest = torch.where(~served)[0]
    if len(rest) == 0:
        return close
    far, iou = _positive_iou(anchors, gt_boxes[rest], anchor_pairs(grid, gt_boxes[rest]))
    best = _largest(iou, far.gt, len(rest))
    if (best == 0).any():  # then every anchor becomes positive, and every anchor's match counts
        return anchor_pairs(grid, gt_boxes)
    winners = far.box[iou == best[far.gt]].unique()
    extra = overlapping_pairs(anchors[winners], gt_boxes)
    return Pairs.concatenate([close, Pairs(winners[extra.box], extra.gt)])


def _positive_iou(boxes: Tensor, gt_boxes: Tensor, pairs: Pairs) -> tuple[Pairs, Tensor]:
    """Return the pairs that overlap and their (P,) IoUs, by torchvision's formula in its order of operations."""
    a, b = boxes[pairs.box], gt_boxes[pairs.gt]
    intersection = _intersection(a, b)
    overlapping = torch.where(intersection > 0)[0]
    pairs = Pairs(pairs.box[overlapping], pairs.gt[overlapping])
    return pairs, _iou(a[overlapping], b[overlapping], intersection[overlapping])


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Return the area that boxes (..., 4) share, 0 where they do not overlap."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def _iou(a: Tensor, b: Tensor, intersection: Tensor) -> Tensor:
    return intersection / (_area(b) + _area(a) - intersection)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def _largest(iou: Tensor, index: Tensor, count: int) -> Tensor:
    """Return the largest IoU of each index, (count,) float32; 0 where there is none."""
    return iou.new_zeros(count).scatter_reduce_(0, index, iou, "amax")
