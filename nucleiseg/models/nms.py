"""Non-maximum suppression that stops when it has kept enough."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

CHUNK = 1000
"""Boxes compared at a time: their mutual IoUs fit into the cache."""

FEW = 2000
"""Up to so many boxes a level torchvision's operator, quadratic in their number, takes less than 20 ms."""


def best_of_each(boxes: Tensor, scores: Tensor, groups: Tensor, iou: float, limit: int) -> Tensor:
    """Suppress boxes within their groups and keep the best: `batched_nms(...)[:limit]`.

    Equal to the bit; on a GPU up to 25,000 boxes, above which torchvision suppresses group by group and rounds
    otherwise.

    Suppression is greedy in descending score, so a group is done after its first `limit` survivors. On the CPU
    torchvision compares all pairs, one after the other (12,000 proposals of C4: 0.5 s). On a GPU all groups go into
    one call, as torchvision does it up to 25,000 boxes: each call makes the host wait.

    Args:
        boxes: (N, 4) float32 x1, y1, x2, y2.
        scores: (N,) in which order boxes are preferred.
        groups: (N,) int64; boxes of different groups do not suppress one another.
        iou: of two boxes with a greater IoU the one of lower score is dropped.
        limit: boxes to keep over all groups.

    Returns:
        Indices of the kept, at most `limit`, in descending score.

    Examples:
        >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
        >>> scores, groups = torch.tensor([0.8, 0.9, 0.7]), torch.zeros(3, dtype=torch.int64)
        >>> best_of_each(boxes, scores, groups, iou=0.5, limit=10).tolist()
        [1, 2]
    """
    if boxes.is_cuda:
        return nms(apart(boxes, groups), scores, iou)[:limit] if len(boxes) else groups[:0]
    if len(boxes) <= FEW:
        return batched_nms(boxes, scores, groups, iou)[:limit]
    kept = []
    for group in groups.unique():
        members = torch.where(groups == group)[0]
        members = members[scores[members].sort(descending=True, stable=True).indices]
        kept.append(members[_survivors(boxes[members], iou, limit)])
    together = torch.cat(kept)
    return together[scores[together].sort(descending=True, stable=True).indices[:limit]]


def apart(boxes: Tensor, groups: Tensor) -> Tensor:
    """Shift (N, 4) boxes by their groups, so that boxes of different groups never overlap: one suppression for all.

    Coordinates are not negative, as those of boxes that were clipped to an image.

    This is what torchvision's `batched_nms` does on GPUs, without its copy of a constant to the device.
    """
    return boxes + (groups.to(boxes.dtype) * (boxes.max() + 1))[:, None]


def _survivors(boxes: Tensor, iou: float, limit: int) -> Tensor:
    """Return the first `limit` rows (or all) that survive, of (N, 4) boxes in the order of preference."""
    kept = torch.zeros(0, dtype=torch.int64)
    for rows in torch.arange(len(boxes)).split(CHUNK):
        rest = rows[~_is_suppressed(boxes[rows], boxes[kept], iou)]
        falling = torch.arange(len(rest), 0, -1, dtype=boxes.dtype)
        kept = torch.cat([kept, rest[nms(boxes[rest], falling, iou)]])
        if len(kept) >= limit:
            break
    return kept[:limit]


def _is_suppressed(boxes: Tensor, by: Tensor, iou: float) -> Tensor:
    """Return which of (N, 4) boxes have an IoU above `iou` with any of (M, 4), rounded as in torchvision."""
    x1, y1, x2, y2 = (boxes[:, None, side] for side in range(4))
    left, top, right, bottom = (by[None, :, side] for side in range(4))
    width = (torch.minimum(x2, right) - torch.maximum(x1, left)).clamp_(min=0)
    intersection = (torch.minimum(y2, bottom) - torch.maximum(y1, top)).clamp_(min=0).mul_(width)
    union = (right - left) * (bottom - top) + (x2 - x1) * (y2 - y1) - intersection
    return (intersection.div_(union) > _below(iou)).any(dim=1)


def _below(threshold: float) -> float:
    """Return the largest float32 up to a threshold: a float32 above the one is above the other."""
    nearest = torch.tensor(threshold, dtype=torch.float32)
    if nearest.item() > threshold:
        nearest = torch.nextafter(nearest, torch.tensor(-torch.inf))
    return nearest.item()
