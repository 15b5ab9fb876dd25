"""What the mask head should draw for a RoI, sampled straight from the label-map layers.

Both libraries crop the target out of each instance's full-size binary mask with RoIAlign. That needs the masks:
N x H x W. But RoIAlign of "label == id" looks at four pixels a sample, and these can be read from the layer on which
the instance lies. The arithmetic below is RoIAlign's, operation for operation, so the result is the same to the bit.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from nucleiseg.structures import Target


class _Axis(NamedTuple):
    """Where the samples of some RoIs lie along one axis: (R, size, g) each, g samples a bin.

    `low` and `high` are the pixels before and after the sample (int64), `low_weight` and `high_weight` what they
    count (float32), both 0 for samples that the RoI does not have or that lie outside the image.
    """

    low: Tensor
    high: Tensor
    low_weight: Tensor
    high_weight: Tensor


def mask_targets(
    target: Target, boxes: Tensor, instances: Tensor, size: int, *, aligned: bool = True, binary: bool = True
) -> Tensor:
    """Crop and resize an instance's mask to each RoI.

    Args:
        target: the image's instances.
        boxes: (R, 4) x1, y1, x2, y2 of the RoIs in network pixels.
        instances: (R,) int64, the index in `target` of each RoI's instance.
        size: side of the mask head's output.
        aligned: shift RoIs by half a pixel, as detectron2; torchvision does not.
        binary: threshold at 0.5 (inclusive), as detectron2; torchvision trains on the soft values.

    Returns:
        (R, size, size) float32 in [0, 1].
    """
    boxes = boxes.float()
    grids = _samples_per_bin(boxes, size, aligned)
    most = grids.amax(dim=1)
    result = boxes.new_zeros(len(boxes), size, size)
    # RoIs with as many samples a bin go together: their number, not the largest RoI's, sets the cost of small ones.
    for samples in most.unique().tolist():
        chosen = torch.where(most == samples)[0]
        result[chosen] = _align(target, boxes[chosen], instances[chosen], grids[chosen], size, aligned)
    return (result >= 0.5).float() if binary else result


def _sides(boxes: Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
    """Return (R, 2) start (x, y) and width, height of RoIs in the coordinates of pixel centres, as RoIAlign does."""
    offset = 0.5 if aligned else 0.0
    start = boxes[:, :2] - offset
    side = (boxes[:, 2:] - offset) - start
    return start, side if aligned else side.clamp(min=1)


def _samples_per_bin(boxes: Tensor, size: int, aligned: bool) -> Tensor:
    """Return (R, 2) int64: samples a bin along x and y, the bin's side in pixels rounded up."""
    return torch.ceil(_sides(boxes, aligned)[1] / size).long()


def _align(target: Target, boxes: Tensor, instances: Tensor, grids: Tensor, size: int, aligned: bool) -> Tensor:
    """RoIAlign of "label == id" for RoIs whose finer axis has equally many samples: (R, size, size) float32."""
    height, width = target.layers.shape[1:]
    start, side = _sides(boxes, aligned)
    x = _axis(start[:, 0], side[:, 0], grids[:, 0], grids, size, width)
    y = _axis(start[:, 1], side[:, 1], grids[:, 1], grids, size, height)
    pixels = target.layers.reshape(-1)
    plane = (target.layer_index[instances] * (height * width))[:, None, None]
    value = target.values[instances].to(pixels.dtype)[:, None, None]

    def inside(rows: Tensor, columns: Tensor) -> Tensor:
        return pixels[plane + rows[:, :, None] * width + columns[:, None, :]] == value

    total = boxes.new_zeros(len(boxes), size, size)
    for i in range(y.low.shape[2]):
        top, bottom = y.low_weight[:, :, i, None], y.high_weight[:, :, i, None]
        for j in range(x.low.shape[2]):
            left, right = x.low_weight[:, None, :, j], x.high_weight[:, None, :, j]
            total += (
                top * left * inside(y.low[..., i], x.low[..., j])
                + top * right * inside(y.low[..., i], x.high[..., j])
                + bottom * left * inside(y.high[..., i], x.low[..., j])
                + bottom * right * inside(y.high[..., i], x.high[..., j])
            )
    return total / grids.prod(dim=1).clamp(min=1).to(total.dtype)[:, None, None]


def _axis(start: Tensor, side: Tensor, grid: Tensor, grids: Tensor, size: int, length: int) -> _Axis:
    """Place the samples of RoIs along one axis of `length` pixels.

    Args:
        start: (R,) where each RoI starts, in coordinates of pixel centres.
        side: (R,) its extent in pixels.
        grid: (R,) samples a bin along this axis.
        grids: (R, 2) samples a bin along both axes; the largest is the width of the returned arrays.
        size: bins.
        length: pixels along the axis.
    """
    bin_side = (side / size)[:, None, None]
    number = torch.arange(int(grids.max()), device=start.device)
    bins = torch.arange(size, device=start.device)[None, :, None]
    offset = (number + 0.5) * bin_side / grid.clamp(min=1)[:, None, None]
    position = start[:, None, None] + bins * bin_side + offset
    counts = (number < grid[:, None, None]) & (position >= -1) & (position <= length)
    position = position.clamp(min=0)
    low = position.long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    position = torch.where(low == length - 1, low.to(position.dtype), position)
    high_weight = position - low
    return _Axis(low, high, (1 - high_weight) * counts, high_weight * counts)
