"""Targets of the mask head, sampled directly from the label-map layers.

Both libraries crop the target out of each instance's full-size binary mask with RoIAlign, which needs N x H x W masks.
But RoIAlign of "label == id" reads four pixels per sample, and the instance's layer holds them. The operations below
are RoIAlign's in the same order, so the result is equal to the bit.
"""

import torch
from torch import Tensor

from nucleiseg.models.sample_grid import sample_axis, samples_per_bin, sides
from nucleiseg.structures import Target


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
    grids = samples_per_bin(boxes, size, aligned)
    most = grids.amax(dim=1).cpu()  # the only synchronization
    result = boxes.new_zeros(len(boxes), size, size)
    # group RoIs by their samples per bin, so that small RoIs do not pay for the largest one
    for samples in most.unique().tolist():
        chosen = torch.where(most == samples)[0].to(boxes.device, non_blocking=True)
        result[chosen] = _align(target, boxes[chosen], instances[chosen], grids[chosen], samples, size, aligned)
    return (result >= 0.5).float() if binary else result


def _align(
    target: Target, boxes: Tensor, instances: Tensor, grids: Tensor, most: int, size: int, aligned: bool
) -> Tensor:
    """RoIAlign of "label == id" for RoIs whose finer axis has `most` samples a bin: (R, size, size) float32."""
    height, width = target.layers.shape[1:]
    start, side = sides(boxes, aligned)
    x = sample_axis(start[:, 0], side[:, 0], grids[:, 0], most=most, size=size, length=width)
    y = sample_axis(start[:, 1], side[:, 1], grids[:, 1], most=most, size=size, length=height)
    pixels = target.layers.reshape(-1)
    plane = (target.layer_index[instances] * (height * width))[:, None, None]
    value = target.values[instances].to(pixels.dtype)[:, None, None]
    # the two pixels around each sample along each axis, (2, R, bins, samples)
    columns, across = torch.stack([x.low, x.high]), torch.stack([x.low_weight, x.high_weight])
    rows, down = torch.stack([y.low, y.high]) * width + plane, torch.stack([y.low_weight, y.high_weight])
    total = boxes.new_zeros(len(boxes), size, size)
    for i in range(most):
        for j in range(most):
            # the four pixels around the sample (i, j) of each bin, (2, 2, R, bins, bins)
            pixel = pixels[rows[:, None, :, :, i, None] + columns[None, :, :, None, :, j]]
            part = down[:, None, :, :, i, None] * across[None, :, :, None, :, j] * (pixel == value)
            total += part[0, 0] + part[0, 1] + part[1, 0] + part[1, 1]
    return total / grids.prod(dim=1).clamp(min=1).to(total.dtype)[:, None, None]
