"""Values of all the processes of a run (ranks), one or many."""

from typing import Any, TypeVar

import torch.distributed as dist
from pytorch_lightning.utilities import rank_zero_only

Value = TypeVar("Value")


def gathered(value: Value) -> list[Value]:
    """Return the values of all ranks, in their order; every rank has to call it, with a picklable `value`."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def is_first_rank() -> bool:
    """Return whether this is the first process of a run, as its launcher says: known before they have met."""
    return getattr(rank_zero_only, "rank", 0) == 0
