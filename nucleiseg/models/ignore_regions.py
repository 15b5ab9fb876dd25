"""Leave anchors and proposals in ignore regions out of the losses.

    label = without_ignored(matches.label, boxes, target.ignore)      # (B,): some negatives become -1

Nuclei in an ignore region are not annotated one by one, so a box in it that matches no instance is not known to be
background. The rule is COCO's for detections in a crowd region, as Detectron applies it to proposals (Girshick et al.
2018, `TRAIN.CROWD_FILTER_THRESH`): what counts is the share of the *box's own* area, at one half. Shares are read from
an integral image, so the cost depends neither on the number of regions nor on that of nuclei.
"""

import torch
from torch import Tensor

IGNORED_SHARE = 0.5
"""Least share of a box's area in ignore regions at which it is not a negative."""


def without_ignored(label: Tensor, boxes: Tensor, ignore: Tensor | None) -> Tensor:
    """Return labels in which negatives that lie in ignore regions are -1; matched boxes stay positive.

    Args:
        label: (B,) int8, 1 for a match, 0 for background, -1 for neither.
        boxes: (B, 4) float32 x1, y1, x2, y2.
        ignore: (h, w) bool, pixels of ignore regions; None: there are none, and `label` is returned as it is.
    """
    if ignore is None:
        return label
    return label.masked_fill((label == 0) & (covered_share(boxes, ignore) >= IGNORED_SHARE), -1)


def covered_share(boxes: Tensor, plane: Tensor) -> Tensor:
    """Return the exact share of each box that the pixels of a plane cover.

    The sum of a plane left of and above a point is bilinear within each pixel, so interpolating the integral image
    gives it at any point, and four corners give the sum in a box. What lies outside of the plane is not covered.

    Args:
        boxes: (B, 4) float x1, y1, x2, y2; pixel (row r, column c) is the square from (c, r) to (c + 1, r + 1).
        plane: (h, w) bool.

    Returns:
        (B,) float64 in 0 .. 1; NaN for a box without area.

    Examples:
        >>> plane = torch.tensor([[True, False], [True, False]])
        >>> covered_share(torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.5, 0.0, 1.5, 1.0], [-1.0, 0.0, 1.0, 1.0]]), plane)
        tensor([0.5000, 0.5000, 0.5000], dtype=torch.float64)
    """
    height, width = plane.shape
    integral = torch.zeros(height + 1, width + 1, dtype=torch.int32, device=plane.device)
    integral[1:, 1:] = plane.cumsum(0, dtype=torch.int32).cumsum(1, dtype=torch.int32)
    x1, y1, x2, y2 = boxes.double().unbind(1)
    covered = (
        _sum_up_to(integral, x2, y2)
        - _sum_up_to(integral, x1, y2)
        - _sum_up_to(integral, x2, y1)
        + _sum_up_to(integral, x1, y1)
    )
    return covered / ((x2 - x1) * (y2 - y1))


def _sum_up_to(integral: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return (B,) float64: the sum of the pixels left of x and above y, by bilinear interpolation."""
    height, width = integral.shape[0] - 1, integral.shape[1] - 1
    x, y = x.clamp(0, width), y.clamp(0, height)
    column, row = x.long().clamp(max=width - 1), y.long().clamp(max=height - 1)
    right, down = x - column, y - row
    upper = integral[row, column] * (1 - right) + integral[row, column + 1] * right
    lower = integral[row + 1, column] * (1 - right) + integral[row + 1, column + 1] * right
    return upper * (1 - down) + lower * down
