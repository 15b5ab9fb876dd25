"""Compute the IoU of boxes with their best anchors, without building the grid of anchors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AnchorLevel:
    """The anchors of one feature map.

    Attributes:
        stride: pixels of the network's input between two cells; cell (i, j) is at (j * stride, i * stride).
        cell_anchors: (A, 4) x1, y1, x2, y2 of the anchors of cell (0, 0), each centered there.
    """

    stride: float
    cell_anchors: np.ndarray

    @property
    def shapes(self) -> np.ndarray:
        """(A, 2) width and height of the cell anchors."""
        cells = np.asarray(self.cell_anchors, dtype=np.float64).reshape(-1, 4)
        return cells[:, 2:] - cells[:, :2]

    @property
    def sizes(self) -> np.ndarray:
        """(A,) square roots of the anchors' areas."""
        return np.sqrt(self.shapes.prod(axis=1))


def best_anchor_iou(boxes: np.ndarray, levels: Sequence[AnchorLevel]) -> np.ndarray:
    """Return the IoU of each box with the best anchor of the whole grid.

    On each axis the overlap of two intervals of lengths a and b whose centers are d apart is
    min(a, b, (a + b) / 2 - d), which never grows with d. So for each anchor shape the best cell is the nearest one to
    the box's center, on each axis separately: one comparison per shape for maps of any size. The grid is infinite,
    since crops lie anywhere in an image.

    Args:
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the network's input.
        levels: the feature maps that carry anchors.

    Returns:
        (N,) float64, between 0 and 1.
    """
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    centers = (boxes[:, 2:] + boxes[:, :2]) / 2
    best = np.zeros(len(boxes))
    for level in levels:
        distance = np.abs(centers - np.rint(centers / level.stride) * level.stride)
        for shape in level.shapes:
            overlap = np.minimum(np.minimum(sides, shape), (sides + shape) / 2 - distance).clip(min=0).prod(axis=1)
            union = sides.prod(axis=1) + shape.prod() - overlap
            np.maximum(best, overlap / union, out=best)
    return best
