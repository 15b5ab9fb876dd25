"""Values of all the processes of a run (ranks), one or many.

torch and Lightning are imported within the functions: Hydra imports the launchers of sweeps, which need this module, in
every command, and `--help` should not wait for the two.
"""

from typing import Any, TypeVar

Value = TypeVar("Value")


def gathered(value: Value) -> list[Value]:
    """Return the values of all ranks, in their order; every rank has to call it, with a picklable `value`."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def is_first_rank() -> bool:
    """Return whether this is the first process of a run by its launcher's variables, before the processes connect."""
    from pytorch_lightning.utilities import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0
