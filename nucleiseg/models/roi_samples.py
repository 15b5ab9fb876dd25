"""The RoIs of a training step, and which rows of what is computed for them are no background."""

from typing import NamedTuple

import torch
from torch import Tensor


class RoISamples(NamedTuple):
    """The RoIs of one image that take part in a training step.

    Attributes:
        boxes: (S, 4) in network pixels.
        labels: (S,) int64, 0 for background.
        instances: (S,) int64, the instance in the image's target that each overlaps most (background: arbitrary).
        foreground: F, so many of the first rows are no background: nobody needs to ask the device for them.
    """

    boxes: Tensor
    labels: Tensor
    instances: Tensor
    foreground: int


def foreground_of(values: Tensor, samples: list[RoISamples]) -> Tensor:
    """Return the foreground's rows of (sum of S, ...) values of all images' RoIs: (sum of F, ...)."""
    images = values.split([len(sample.labels) for sample in samples])
    return torch.cat([rows[: sample.foreground] for rows, sample in zip(images, samples, strict=True)])
