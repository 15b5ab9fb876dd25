"""A run whose loss is no number any more stops, and says where it happened and what to try."""

import math
from collections.abc import Mapping, Sequence

from torch import nn

from nucleiseg.errors import InputError
from nucleiseg.training.ranks import gathered


def diverged(step: int, what: str, lr: float, images: Sequence[str] = ()) -> InputError:
    """Return the error of a step that cannot be learned from.

    Args:
        step: the step, counted from 1.
        what: what is not finite, as a clause.
        lr: its learning rate.
        images: the images of the step, where they are known.
    """
    names = f"; images of that step: {', '.join(images)}" if images else ""
    return InputError(
        f"At step {step} {what} (learning rate {lr:.3g}{names}). Training stopped, "
        "the checkpoints before it are kept. Start again with a lower optim.lr, a longer optim.warmup, or with clipped "
        "gradients (trainer.clip_norm=10)."
    )


def stop_if_not_finite(rows: Sequence[Mapping[str, float]], images: Sequence[Sequence[str]]) -> None:
    """Stop at the first step whose losses are not all finite; every rank must call it with the same rows.

    Args:
        rows: `step`, `lr` and the `train/` losses of each step, in order.
        images: names of the images of each step, on this rank.

    Raises:
        InputError: naming the step, the losses and the images of all ranks.
    """
    for row, own in zip(rows, images, strict=True):
        bad = [f"{key} is {value}" for key, value in row.items() if "train/" in key and not math.isfinite(value)]
        if bad:
            everywhere = [name for rank in gathered(list(own)) for name in rank]
            raise diverged(int(row["step"]), ", ".join(bad), row["lr"], everywhere)


def stop_if_weights_not_finite(network: nn.Module, step: int, lr: float) -> None:
    """Stop before a checkpoint keeps what no run can go on from: a loss may be finite and its gradient not.

    Raises:
        InputError: naming the step and the first of the weights.
    """
    for name, parameter in network.named_parameters():
        if not parameter.isfinite().all():
            raise diverged(step, f"the weights {name} are not finite any more", lr)
