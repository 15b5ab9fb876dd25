"""A run whose loss is no number any more stops, and says where it happened and what to try."""

import math
from collections.abc import Mapping, Sequence

from nucleiseg.errors import InputError
from nucleiseg.training.callbacks.step import gathered


def stop_if_not_finite(rows: Sequence[Mapping[str, float]], names: Sequence[Sequence[str]]) -> None:
    """Stop at the first step whose losses are not all finite; every rank must call it with the same rows.

    Args:
        rows: a mapping of `step`, `lr` and the `train/` losses for each step, in order.
        names: the images of each step on this rank.

    Raises:
        InputError: naming the step, the losses and the images of all ranks.
    """
    for row, images in zip(rows, names, strict=True):
        bad = {key: value for key, value in row.items() if key.startswith("train/") and not math.isfinite(value)}
        if bad:
            losses = ", ".join(f"{key} is {value}" for key, value in bad.items())
            everywhere = ", ".join(name for rank in gathered(list(images)) for name in rank)
            raise InputError(
                f"At step {row['step']:.0f} {losses} (images of that step: {everywhere}; learning rate "
                f"{row['lr']:.3g}). Training stopped, the checkpoints before it are kept. Start again with a lower "
                "optim.lr, or with clipped gradients (trainer.clip_norm=10)."
            )
