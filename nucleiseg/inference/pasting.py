"""Resample the grid over a box to probabilities at pixels, by detectron2's rule or torchvision's.

Both libraries call it `paste_masks_in_image`, and both are bilinear with zeros around the grid (Mask
R-CNN, He et al. 2017, section 3.1, "resized to the RoI size"). They differ in where the box lies.

detectron2 maps the center of each pixel into the grid of the exact box. Sampling on a regular grid is separable, so a
crop is the product of two small matrices and the grid:

    crop (h, w) = rows (h, M) @ mask (M, M) @ columns (w, M)^T,   rows[y, i] = max(0, 1 - |position(y) - i|)

torchvision puts one cell of zeros around the grid, enlarges the box to match, cuts its corners to whole numbers,
counts both corners as inside and resizes the grid to that many pixels. Its masks lie up to a pixel elsewhere, and
a box always has a pixel at least.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.nn import functional as F

from nucleiseg.structures import Pasting

SoftCrop = tuple[int, int, np.ndarray]
"""First row, first column and (h, w) float32 probabilities of the part of the image that one mask reaches."""

CHUNK = 64
"""Instances whose sampling matrices are made in one go: enough to amortize numpy's call overhead, small in memory."""


def detectron2_crops(masks: np.ndarray, boxes: np.ndarray, height: int, width: int) -> Iterator[SoftCrop]:
    """Sample each mask at the centers of the pixels in and around its box.

    A crop spans floor(box) - 1 to ceil(box) + 1, clipped to the image; it is empty for a box without area.

    Args:
        masks: (N, M, M) float32 probabilities on a regular grid over each box.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the image.
        height: rows of the image.
        width: columns of the image.
    """
    grid = masks.shape[-1]
    for start in range(0, len(masks), CHUNK):
        chunk = boxes[start : start + CHUNK].astype(np.float64)
        first_rows, row_weights = _sampling_matrices(chunk[:, 1], chunk[:, 3], height, grid)
        first_columns, column_weights = _sampling_matrices(chunk[:, 0], chunk[:, 2], width, grid)
        for index, mask in enumerate(masks[start : start + CHUNK]):
            soft = row_weights[index] @ mask @ column_weights[index].T
            yield first_rows[index], first_columns[index], soft


def torchvision_crops(masks: np.ndarray, boxes: np.ndarray, height: int, width: int) -> Iterator[SoftCrop]:
    """Resize each mask, with a border of zeros, to the whole pixels of its enlarged box.

    A crop is the part of the enlarged box inside the image. Computed in float32 in torchvision's order of operations,
    since a corner that is rounded otherwise moves the whole mask.

    Args:
        masks: (N, M, M) float32 probabilities on a regular grid over each box.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the image.
        height: rows of the image.
        width: columns of the image.
    """
    grid = masks.shape[-1]
    padded = F.pad(torch.from_numpy(masks), (1, 1, 1, 1))
    corners = _enlarged(torch.from_numpy(boxes), (grid + 2) / grid).to(torch.int64)  # towards zero
    for mask, (x1, y1, x2, y2) in zip(padded, corners.tolist(), strict=True):
        shape = (max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1))
        soft = F.interpolate(mask[None, None], size=shape, mode="bilinear", align_corners=False)[0, 0].numpy()
        row, column = min(max(y1, 0), height), min(max(x1, 0), width)
        yield row, column, soft[max(row - y1, 0) : max(height - y1, 0), max(column - x1, 0) : max(width - x1, 0)]


SOFT_CROPS: dict[Pasting, Callable[[np.ndarray, np.ndarray, int, int], Iterator[SoftCrop]]] = {
    "detectron2": detectron2_crops,
    "torchvision": torchvision_crops,
}
"""Value of `Prediction.pasting` -> its rule."""


def _enlarged(boxes: torch.Tensor, factor: float) -> torch.Tensor:
    """Return (N, 4) boxes whose sides are `factor` times as long, around the same centers."""
    centers = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    halves = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * factor
    return torch.cat([centers - halves, centers + halves], dim=1)


def _sampling_matrices(low: np.ndarray, high: np.ndarray, limit: int, grid: int) -> tuple[list[int], list[np.ndarray]]:
    """Return, along one axis, the first pixel of each crop and its (pixels, grid) float32 bilinear weights.

    Args:
        low: (N,) lower box edges.
        high: (N,) upper box edges.
        limit: pixels of the image along this axis.
        grid: cells of the mask along this axis.
    """
    sides = high - low
    first = np.clip(np.floor(low) - 1, 0, limit).astype(np.int64)
    last = np.clip(np.ceil(high) + 1, first, limit).astype(np.int64)
    lengths = np.where(sides > 0, last - first, 0)
    ends = np.cumsum(lengths)
    owner = np.repeat(np.arange(len(low)), lengths)
    pixel = np.arange(len(owner)) - (ends - lengths)[owner] + first[owner]
    position = (pixel + 0.5 - low[owner]) / sides[owner] * grid - 0.5  # cell centers at 0 .. grid - 1
    weights = np.maximum(0, 1 - np.abs(position.astype(np.float32)[:, None] - np.arange(grid, dtype=np.float32)))
    return first.tolist(), np.split(weights, ends[:-1])
