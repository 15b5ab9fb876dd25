"""Sample the anchors and RoIs of the losses, reproducibly for each image."""

from enum import IntEnum

import torch
from torch import Tensor


class Stream(IntEnum):
    """Independent sequences of random numbers for one image, so that no part depends on how many another used."""

    RPN = 0
    ROI = 1


def image_generator(seed: int | None, stream: Stream) -> torch.Generator | None:
    """Return the random numbers of one image, or None for torch's global ones.

    Args:
        seed: `Target.seed`, or None.
        stream: what they are for.

    Returns:
        A generator on the CPU: the samples are the same on every device.
    """
    if seed is None:
        return None
    return torch.Generator().manual_seed((seed * len(Stream) + stream) % 2**63)


def sample_balanced(
    label: Tensor, size: int, positive_fraction: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sample positives and negatives without replacement (Ren et al. 2015, section 3.1.3).

    As detectron2's `subsample_labels`: at most `size * positive_fraction` positives, negatives up to `size`. Labels are
    copied to the host once and sampled there: on a GPU, counting would wait for it, and each operator be a launch.

    Args:
        label: (B,) 1 for positives, 0 for negatives, -1 for boxes that are neither.
        size: number of positives and negatives together.
        positive_fraction: the largest share of positives.
        generator: source of random numbers; None is torch's global one.

    Returns:
        Indices of the sampled positives and negatives, int64, in random order; fewer where there are fewer.
    """
    on_host = label.cpu()
    positive, negative = torch.where(on_host == 1)[0], torch.where(on_host == 0)[0]
    positives = min(len(positive), int(size * positive_fraction))
    negatives = min(len(negative), size - positives)
    # A permutation of all candidates, as detectron2's: fewer random numbers would change every later sample.
    positive = positive[torch.randperm(len(positive), generator=generator)[:positives]]
    negative = negative[torch.randperm(len(negative), generator=generator)[:negatives]]
    return positive.to(label.device, non_blocking=True), negative.to(label.device, non_blocking=True)
