"""Drawing the anchors and RoIs that losses are computed on, reproducibly for each image."""

from enum import IntEnum

import torch
from torch import Tensor


class Stream(IntEnum):
    """Independent sequences of random numbers for one image, so that no part depends on how much another drew."""

    RPN = 0
    ROI = 1


def image_generator(seed: int | None, stream: Stream) -> torch.Generator | None:
    """Return the random numbers of one image, or None for torch's global ones.

    Args:
        seed: `Target.seed`, or None.
        stream: what they are for.

    Returns:
        A generator on the CPU: the draws are the same whatever the device.
    """
    if seed is None:
        return None
    return torch.Generator().manual_seed((seed * len(Stream) + stream) % 2**63)


def sample_balanced(
    label: Tensor, size: int, positive_fraction: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw positives and negatives without replacement (Ren et al. 2015, section 3.1.3).

    As detectron2's `subsample_labels`: at most `size * positive_fraction` positives, negatives up to `size`. Labels are
    read once, and drawing happens on the host: a device would be waited for to count, and started for every operator.

    Args:
        label: (B,) 1 for positives, 0 for negatives, -1 for boxes that are neither.
        size: how many to draw together.
        positive_fraction: the largest share of positives.
        generator: where random numbers come from; None is torch's global state.

    Returns:
        Indices of the drawn positives and negatives, int64, in random order; fewer where there are fewer.
    """
    on_host = label.cpu()
    positive, negative = torch.where(on_host == 1)[0], torch.where(on_host == 0)[0]
    positives = min(len(positive), int(size * positive_fraction))
    negatives = min(len(negative), size - positives)
    drawn_positive = _draw(positive, positives, generator)
    drawn_negative = _draw(negative, negatives, generator)
    return drawn_positive.to(label.device, non_blocking=True), drawn_negative.to(label.device, non_blocking=True)


def _draw(candidates: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    return candidates[torch.randperm(len(candidates), generator=generator)[:count]]
