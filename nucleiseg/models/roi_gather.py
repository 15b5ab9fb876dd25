"""RoIAlign as a weighted sum of a feature map's rows: the CPU's way.

A pooled value is a sum of some cells' features, with the same cells and weights in all C channels. On a map that
keeps the channels of a cell together (channels last), that is a sum of contiguous rows, which `embedding_bag` computes
forwards and backwards with all cores and without atomic additions: the result does not depend on threads.

Measured on 2 cores, forward and backward together: 512 RoIs of 40 pixels in FPN's finest map at 608 x 608, 26 ms
(torchvision's operator: 780 ms); the 14 x 14 grid of C4, 0.2 s (4.9 s), and the quarter of it that is read, 50 ms.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nucleiseg.models.sample_grid import sample_axis, samples_per_bin, sides


def gather_rois(
    feature_map: Tensor,
    rois: Tensor,
    *,
    size: int,
    scale: float,
    sampling_ratio: int = 0,
    aligned: bool = True,
    every: int = 1,
) -> Tensor:
    """Pool RoIs as torchvision's `roi_align` does, up to rounding.

    Args:
        feature_map: (B, C, h, w), in channels-last format if it is to be fast; any floating type.
        rois: (R, 5) float32 index of the image, then x1, y1, x2, y2 in pixels of the input.
        size: bins of a RoI along each axis.
        scale: cells of the map per pixel of the input.
        sampling_ratio: samples a bin along each axis; 0 takes as many as the bin has cells.
        aligned: RoIs are shifted by half a cell, and not enlarged to one.
        every: pool each so-manieth bin alone along both axes, from the first on; n of them.

    Returns:
        (R, n, n, C) float32.
    """
    rows = feature_map.float().permute(0, 2, 3, 1).reshape(-1, feature_map.shape[1]).contiguous()
    bins = -(-size // every)
    boxes = rois[:, 1:].float() * scale
    grids = samples_per_bin(boxes, size, aligned, sampling_ratio)
    most = grids.amax(dim=1)
    lengths = bins**2 * 4 * most**2
    ends = lengths.cumsum(0)
    index = torch.empty(int(lengths.sum()), dtype=torch.int64)
    weight = torch.empty(len(index))
    # RoIs with as many samples a bin go together: their number, not the largest RoI's, sets the cost of small ones.
    for samples in most.unique().tolist():
        chosen = torch.where(most == samples)[0]
        cells, weights = _cells(boxes[chosen], grids[chosen], feature_map.shape[2:], samples, size, aligned, every)
        image = rois[chosen, :1].long() * (feature_map.shape[2] * feature_map.shape[3])
        place = (ends - lengths)[chosen, None] + torch.arange(cells.shape[1])
        index[place], weight[place] = cells + image, weights
    of_bins = (4 * most**2).repeat_interleave(bins**2)
    pooled = F.embedding_bag(index, rows, of_bins.cumsum(0) - of_bins, mode="sum", per_sample_weights=weight)
    return pooled.view(len(rois), bins, bins, rows.shape[1])


def _cells(
    boxes: Tensor, grids: Tensor, shape: torch.Size, most: int, size: int, aligned: bool, every: int
) -> tuple[Tensor, Tensor]:
    """Return the cells that each bin reads and their weights.

    Args:
        boxes: (R, 4) in cells of the map.
        grids: (R, 2) samples a bin along x and y.
        shape: (h, w) of the map.
        most: the largest of `grids` for each RoI.
        size: bins along each axis.
        aligned: as in `gather_rois`.
        every: as in `gather_rois`.

    Returns:
        Indices into the h * w cells, int64, and weights, float32: (R, n * n * 4 * most^2), bin by bin.
    """
    height, width = shape
    start, side = sides(boxes, aligned)
    x = sample_axis(start[:, 0], side[:, 0], grids[:, 0], most=most, size=size, length=width, every=every)
    y = sample_axis(start[:, 1], side[:, 1], grids[:, 1], most=most, size=size, length=height, every=every)
    column, row = torch.cat([x.low, x.high], dim=2), torch.cat([y.low, y.high], dim=2) * width  # (R, n, 2 * most)
    across = torch.cat([x.low_weight, x.high_weight], dim=2)
    down = torch.cat([y.low_weight, y.high_weight], dim=2) / grids.prod(dim=1).clamp(min=1)[:, None, None]
    cells = row[:, :, None, :, None] + column[:, None, :, None, :]
    weights = down[:, :, None, :, None] * across[:, None, :, None, :]
    return cells.flatten(1), weights.flatten(1)
