"""RoIs sampled for a training step."""

from typing import NamedTuple

import torch
from torch import Tensor


class RoISamples(NamedTuple):
    """The RoIs of one image that take part in a training step.

    Attributes:
        boxes: (S, 4) in network pixels.
        labels: (S,) int64, 0 for background.
        instances: (S,) int64, the instance in the image's target that each overlaps most (background: arbitrary).
        foreground: F: the first F rows are foreground. Known on the host, so counting needs no synchronization.
    """

    boxes: Tensor
    labels: Tensor
    instances: Tensor
    foreground: int


def foreground_of(values: Tensor, samples: list[RoISamples]) -> Tensor:
    """Select the foreground rows of values of all images' RoIs: (sum of S, ...) to (sum of F, ...)."""
    images = values.split([len(sample.labels) for sample in samples])
    return torch.cat([rows[: sample.foreground] for rows, sample in zip(images, samples, strict=True)])
