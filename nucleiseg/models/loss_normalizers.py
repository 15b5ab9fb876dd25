"""Divisors of a step's losses when several processes (ranks) share the step.

DDP averages the gradients of the ranks. A loss that every rank divides by a count of its own (sampled RoIs, foreground)
would weigh a RoI by how many others its rank has, and the step would not be that of one process with the whole batch.
Divided by the mean of the ranks' counts, it is:

    rank 0: sum 30, count 10    own counts: (30 / 10 + 10 / 2) / 2 = 4
    rank 1: sum 10, count  2    their mean: (30 / 6 + 10 / 6) / 2 = 40 / 12, as one process has it
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def loss_normalizers(counts: Sequence[int], device: torch.device, *, training: bool) -> list[Tensor] | list[int]:
    """Return the divisor of each loss: its count, in training averaged over the ranks; at least 1 in all.

    One all-reduce for all counts, without synchronizing host and device. In training every rank must call it in every
    step, also with counts of 0. In validation ranks see different numbers of images, and each keeps
    its own counts.

    Args:
        counts: what this rank's losses are sums over.
        device: of the losses.
        training: the step's gradients are averaged over ranks.

    Returns:
        Scalars; float32 tensors on `device` if there are several ranks in training.
    """
    ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if ranks == 1 or not training:
        return [max(count, 1) for count in counts]
    total = torch.stack([torch.full((), float(count), device=device) for count in counts])
    dist.all_reduce(total)
    return list((total.clamp(min=1) / ranks).unbind())
