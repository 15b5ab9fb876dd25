"""Targets of the box regression: deltas from an anchor or a RoI to the box of its instance, and back.

Equal to torchvision's `BoxCoder` to the bit, which copies constants to the device in every call and thereby waits for
all work queued on it.
"""

import math

import torch
from torch import Tensor

MOST_GROWTH = math.log(1000.0 / 16)
"""Largest dw and dh: a 16 pixel anchor on an image of 1000 (torchvision's and detectron2's limit)."""


def encode_boxes(boxes: Tensor, references: Tensor, position: float = 1.0, size: float = 1.0) -> Tensor:
    """Return the deltas from references to boxes (Girshick et al. 2014, appendix C).

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        references: (N, 4), with areas above 0.
        position: weight of dx and dy.
        size: weight of dw and dh.

    Returns:
        (N, 4) dx, dy (shift of the center in sides of the reference), dw, dh (logarithm of the growth of the sides),
        weighted.

    Examples:
        >>> references = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> deltas = encode_boxes(torch.tensor([[5.0, 0.0, 15.0, 10.0]]), references)  # half a side to the right
        >>> deltas.tolist(), decode_boxes(deltas, references).tolist()
        ([[0.5, 0.0, 0.0, 0.0]], [[5.0, 0.0, 15.0, 10.0]])
    """
    side, reference_side = boxes[:, 2:] - boxes[:, :2], references[:, 2:] - references[:, :2]
    center, reference_center = boxes[:, :2] + 0.5 * side, references[:, :2] + 0.5 * reference_side
    shift = position * (center - reference_center) / reference_side
    return torch.cat((shift, size * torch.log(side / reference_side)), dim=1)


def decode_boxes(deltas: Tensor, references: Tensor, position: float = 1.0, size: float = 1.0) -> Tensor:
    """Apply deltas to references; the inverse of `encode_boxes`.

    Args:
        deltas: (N, 4) dx, dy, dw, dh.
        references: (N, 4) x1, y1, x2, y2.
        position: weight of dx and dy.
        size: weight of dw and dh.
    """
    reference_side = references[:, 2:] - references[:, :2]
    center = deltas[:, :2] / position * reference_side + (references[:, :2] + 0.5 * reference_side)
    half = 0.5 * (torch.exp((deltas[:, 2:] / size).clamp(max=MOST_GROWTH)) * reference_side)
    return torch.cat((center - half, center + half), dim=1)
