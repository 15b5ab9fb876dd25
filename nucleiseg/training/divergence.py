"""Stop training on a NaN or infinite loss or weight, and suggest a fix."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import NoReturn

from torch import nn

from nucleiseg.errors import InputError
from nucleiseg.training.ranks import gathered


def diverged(step: int, what: str, lr: float, images: Sequence[str] = (), *, saved: bool) -> InputError:
    """Return the error of a step that cannot be learned from.

    Args:
        step: the step, counted from 1.
        what: what is not finite, as a clause.
        lr: its learning rate.
        images: the images of the step, where they are known.
        saved: whether the run has checkpoints.
    """
    names = f"; images of that step: {', '.join(images)}" if images else ""
    kept = ", the checkpoints before it are kept" if saved else " before the first checkpoint"
    return InputError(
        f"At step {step}: {what} (learning rate {lr:.3g}{names}). Training stopped{kept}. Start again with a lower "
        "lr, a longer warmup of the schedule, or with clipped gradients (clip_norm, such as 10)."
    )


@contextmanager
def broken_start() -> Iterator[None]:
    """Turn a `FloatingPointError` of a network that no step has changed yet into a sentence.

    Raises:
        InputError: naming the weights it started from as the cause.
    """
    try:
        yield
    except FloatingPointError as error:
        raise InputError(
            f"Before the first step: {first_clause(error)}. The weights that the network starts from are unusable: "
            "give other ones, or null for random ones."
        ) from error


def first_not_finite(rows: Sequence[Mapping[str, float]]) -> int | None:
    """Return the number of the first row of which not all `train/` losses are finite; None if there is none."""
    return next((number for number, row in enumerate(rows) if _not_finite(row)), None)


def stop_at(row: Mapping[str, float], images: Sequence[str], *, saved: bool) -> NoReturn:
    """Stop at a step whose losses are not all finite; every rank must call it with the same row.

    Args:
        row: `step`, `lr` and the `train/` losses.
        images: names of the images of the step, on this rank.
        saved: whether the run has checkpoints.

    Raises:
        InputError: naming the step, the losses and the images of all ranks.
    """
    what = ", ".join(f"{key} is {row[key]}" for key in _not_finite(row))
    everywhere = [name for rank in gathered(list(images)) for name in rank]
    raise diverged(int(row["step"]), what, row["lr"], everywhere, saved=saved)


def stop_if_weights_not_finite(network: nn.Module, step: int, lr: float, *, saved: bool) -> None:
    """Stop before a checkpoint keeps weights that are not finite: a loss may be finite and its gradient not.

    Running statistics count as weights: a step in training mode does not look at them.

    Raises:
        InputError: naming the step and the first of the weights.
    """
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise diverged(step, f"the weights {name} are not finite any more", lr, saved=saved)


def first_clause(error: FloatingPointError) -> str:
    """Return the first clause of the network's text: the advice is given by the sentence around it."""
    return str(error).partition(":")[0]


def _not_finite(row: Mapping[str, float]) -> list[str]:
    return [key for key, value in row.items() if "train/" in key and not math.isfinite(value)]
