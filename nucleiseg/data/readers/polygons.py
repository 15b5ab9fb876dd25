"""Rasterize polygons by one stated rule: a pixel is inside if its center is, by the even-odd rule.

    crop = fill_even_odd([np.array([[1, 1], [4, 1], [4, 3], [1, 3]])], height=5, width=6)     # 3 x 2 pixels from (1, 1)

Vertices are subpixel x, y in the image's continuous coordinates, in which pixel (row r, column c) is the square from
(c, r) to (c + 1, r + 1): the convention of QuPath, Aperio ImageScope and LabelMe. COCO's own rule differs (it also
includes pixels that an edge touches) and is pycocotools', see `readers.coco`.
"""

from collections.abc import Sequence

import numpy as np

from nucleiseg.rle import Crop, tight_crop


def fill_even_odd(rings: Sequence[np.ndarray], height: int, width: int) -> Crop | None:
    """Return the pixels whose centers lie inside an odd number of rings, clipped to an image.

    A ring inside another is a hole, and where an outline crosses itself the part that is enclosed twice is outside.
    Each edge flips all pixel centers to its right in the rows that it spans:

        edge at x = 1.2      0 0 1 1 1         edge at x = 3.8      0 0 1 1 0         the center of column 1 is at 1.5
                             flipped once                           flipped twice

    Args:
        rings: (P, 2) x, y of each; the last point is joined to the first.
        height: rows of the image.
        width: columns of the image.

    Returns:
        The pixels in their tight box; None if there are none.
    """
    starts = np.concatenate([np.zeros((0, 2)), *rings])
    ends = np.concatenate([np.zeros((0, 2)), *(np.roll(ring, -1, axis=0) for ring in rings)])
    low = np.where((starts[:, 1] <= ends[:, 1])[:, None], starts, ends)
    high = np.where((starts[:, 1] <= ends[:, 1])[:, None], ends, starts)
    # Rows whose centers r + 0.5 lie in [low, high): horizontal edges have none.
    first = np.clip(np.ceil(low[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(high[:, 1] - 0.5), 0, height).astype(np.int64)
    counts = last - first
    if not counts.any():
        return None
    edge = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slope = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
    crossing = low[edge, 0] + (rows + 0.5 - low[edge, 1]) * slope
    columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    top, left = rows.min(), columns.min()
    sides = (rows.max() + 1 - top, columns.max() + 1 - left)
    flips = np.bincount((rows - top) * sides[1] + columns - left, minlength=sides[0] * sides[1]).reshape(sides)
    return tight_crop(int(top), int(left), (np.cumsum(flips, axis=1) % 2).astype(bool)[:, :-1])


def union(crops: Sequence[Crop]) -> Crop:
    """Return all pixels of at least one crop, as of the polygons of one nucleus."""
    top, left = min(crop.row for crop in crops), min(crop.column for crop in crops)
    bottom = max(crop.row + crop.mask.shape[0] for crop in crops)
    right = max(crop.column + crop.mask.shape[1] for crop in crops)
    mask = np.zeros((bottom - top, right - left), bool)
    for crop in crops:
        rows, columns = crop.mask.shape
        mask[crop.row - top : crop.row - top + rows, crop.column - left : crop.column - left + columns] |= crop.mask
    return Crop(top, left, mask)
