"""Sampling points of RoIAlign along one axis, and the two pixels around each of them.

RoIAlign (He et al. 2017, section 3) divides a RoI into size x size bins and averages bilinear samples in each.
Bilinear interpolation is a product of two interpolations along the axes, and the samples form a grid, so
each axis is treated separately.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """Samples of R RoIs along one axis, (R, bins, g) each, with g samples per bin.

    `low` and `high` are the pixels before and after the sample (int64), `low_weight` and `high_weight` their
    weights (float32), both 0 for samples that the RoI does not have or that lie outside the image.
    """

    low: Tensor
    high: Tensor
    low_weight: Tensor
    high_weight: Tensor


def sides(boxes: Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
    """Return (R, 2) start (x, y) and width, height of RoIs in the coordinates of pixel centers.

    Args:
        boxes: (R, 4) float32 x1, y1, x2, y2 in pixels of what is sampled.
        aligned: RoIs are shifted by half a pixel, and not enlarged to one pixel.
    """
    offset = 0.5 if aligned else 0.0
    start = boxes[:, :2] - offset
    side = (boxes[:, 2:] - offset) - start
    return start, side if aligned else side.clamp(min=1)


def samples_per_bin(boxes: Tensor, size: int, aligned: bool, sampling_ratio: int = 0) -> Tensor:
    """Return (R, 2) int64: samples a bin along x and y.

    Args:
        boxes: as in `sides`.
        size: bins along each axis.
        aligned: as in `sides`.
        sampling_ratio: so many, or the bin's side in pixels rounded up where it is 0.
    """
    if sampling_ratio > 0:
        return torch.full((len(boxes), 2), sampling_ratio, device=boxes.device)
    return torch.ceil(sides(boxes, aligned)[1] / size).long()


def sample_axis(
    start: Tensor, side: Tensor, grid: Tensor, *, most: int, size: int, length: int, every: int = 1
) -> Axis:
    """Place the samples of RoIs along one axis of `length` pixels.

    Args:
        start: (R,) where each RoI starts, in coordinates of pixel centers.
        side: (R,) its extent in pixels.
        grid: (R,) samples a bin along this axis.
        most: width g of the returned arrays, at least the largest of `grid`.
        size: bins of a RoI.
        length: pixels along the axis.
        every: step between the bins to sample, from the first.
    """
    bin_side = (side / size)[:, None, None]
    number = torch.arange(most, device=start.device)
    bins = torch.arange(0, size, every, device=start.device)[None, :, None]
    offset = (number + 0.5) * bin_side / grid.clamp(min=1)[:, None, None]
    position = start[:, None, None] + bins * bin_side + offset
    counts = (number < grid[:, None, None]) & (position >= -1) & (position <= length)
    position = position.clamp(min=0)
    low = position.long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    position = torch.where(low == length - 1, low.to(position.dtype), position)
    high_weight = position - low
    return Axis(low, high, (1 - high_weight) * counts, high_weight * counts)
