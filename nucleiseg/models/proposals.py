"""Steps from the RPN head's outputs to proposals that depend on no threshold of the network."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.rpn import permute_and_flatten


class Proposals(NamedTuple):
    """The proposals of one image, in descending order of their logits.

    Attributes:
        boxes: (P, 4) float32 x1, y1, x2, y2 in pixels of the network's input, inside the unpadded image.
        logits: (P,) float32 objectness.
    """

    boxes: Tensor
    logits: Tensor


def in_anchor_order(levels: Sequence[Tensor], values: int) -> Tensor:
    """Bring (N, A * values, h, w) maps of all levels into the anchors' order, (N, B, values) float32."""
    flat = []
    for level in levels:
        count, channels, height, width = level.shape
        flat.append(permute_and_flatten(level, count, channels // values, values, height, width))
    return torch.cat(flat, dim=1).float()


def top_of_levels(logits: Tensor, counts: Sequence[int], limit: int) -> tuple[Tensor, Tensor]:
    """Choose the anchors of largest logit in each level.

    Args:
        logits: (N, B) for the anchors of all levels.
        counts: anchors of each level.
        limit: how many to keep of a level.

    Returns:
        Indices (N, K) of the chosen anchors, level by level in descending logit, and their levels (K,).
    """
    chosen, levels, offset = [], [], 0
    for level, part in enumerate(logits.split(list(counts), dim=1)):
        index = part.topk(min(limit, part.shape[1]), dim=1).indices
        chosen.append(index + offset)
        levels.append(torch.full((index.shape[1],), level, device=logits.device))
        offset += part.shape[1]
    return torch.cat(chosen, dim=1), torch.cat(levels)


def usable_of_image(
    boxes: Tensor, logits: Tensor, levels: Tensor, usable: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the candidates of one image that may become proposals; the order stays.

    Args:
        boxes: (K, 4).
        logits: (K,).
        levels: (K,) int64.
        usable: (K,) bool.
        count: number of true elements of `usable`; passing it saves a synchronization with the device.

    Returns:
        Boxes (count, 4), logits (count,) and levels (count,).
    """
    if count == len(usable):
        return boxes, logits, levels
    rows = usable.nonzero_static(size=count)[:, 0]
    return boxes[rows], logits[rows], levels[rows]
