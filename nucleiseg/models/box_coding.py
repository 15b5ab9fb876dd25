"""What the box regression learns, how to come from an anchor or a RoI to the box of its instance, and back.

To the bit torchvision's `BoxCoder`, which copies constants to the device in every call: the host would wait for all
that the device still has to do.
"""

import math

import torch
from torch import Tensor

MOST_GROWTH = math.log(1000.0 / 16)
"""Largest dw and dh: a 16 pixel anchor on an image of 1000 (torchvision's and detectron2's limit)."""


def encode_boxes(boxes: Tensor, references: Tensor, position: float = 1.0, size: float = 1.0) -> Tensor:
    """Return the deltas that lead from references to boxes (Girshick et al. 2014, appendix C).

    Args:
        boxes: (N, 4) x1, y1, x2, y2.
        references: (N, 4), none of them without area.
        position: weight of dx and dy.
        size: weight of dw and dh.

    Returns:
        (N, 4) dx, dy (shift of the centre in sides of the reference), dw, dh (logarithm of the growth of the sides),
        weighted.

    Example:
        >>> references = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> deltas = encode_boxes(torch.tensor([[5.0, 0.0, 15.0, 10.0]]), references)  # half a side to the right
        >>> deltas.tolist(), decode_boxes(deltas, references).tolist()
        ([[0.5, 0.0, 0.0, 0.0]], [[5.0, 0.0, 15.0, 10.0]])
    """
    side, reference_side = boxes[:, 2:] - boxes[:, :2], references[:, 2:] - references[:, :2]
    centre, reference_centre = boxes[:, :2] + 0.5 * side, references[:, :2] + 0.5 * reference_side
    shift = position * (centre - reference_centre) / reference_side
    return torch.cat((shift, size * torch.log(side / reference_side)), dim=1)


def decode_boxes(deltas: Tensor, references: Tensor, position: float = 1.0, size: float = 1.0) -> Tensor:
    """Return the boxes to which deltas lead: the inverse of `encode_boxes`.

    Args:
        deltas: (N, 4) dx, dy, dw, dh.
        references: (N, 4) x1, y1, x2, y2.
        position: weight of dx and dy.
        size: weight of dw and dh.
    """
    reference_side = references[:, 2:] - references[:, :2]
    centre = deltas[:, :2] / position * reference_side + (references[:, :2] + 0.5 * reference_side)
    half = 0.5 * (torch.exp((deltas[:, 2:] / size).clamp(max=MOST_GROWTH)) * reference_side)
    return torch.cat((centre - half, centre + half), dim=1)
