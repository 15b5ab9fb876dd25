"""Encode and decode COCO run lengths of masks, from the crop that an instance covers.

    crop = Crop(row=10, column=20, mask=np.ones((3, 4), bool))
    compress([run_lengths(crop, height=64, width=64)], 64, 64)  # [{"size": [64, 64], "counts": "..."}]

No array of the whole image is allocated for an instance: memory and time scale with nuclei, not with images.
"""

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from pycocotools import mask as coco_mask


class RLE(TypedDict):
    """COCO's compressed run-length encoding of one mask: column-major runs, `counts` as JSON-ready text."""

    size: list[int]
    counts: str


@dataclass(frozen=True)
class Crop:
    """The part of the image that contains an instance.

    Attributes:
        row: first row of the crop in the image.
        column: first column of the crop in the image.
        mask: (h, w) bool; the instance has no pixel outside. h or w may be 0.
    """

    row: int
    column: int
    mask: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """Index of the crop in an (H, W, ...) array of the image."""
        height, width = self.mask.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


def compress(counts: list[list[int]], height: int, width: int) -> list[RLE]:
    """Compress run lengths to COCO's text.

    Args:
        counts: for each mask, column-major run lengths that start with the zeros (see `run_lengths`).
        height: rows of the image.
        width: columns of the image.

    Examples:
        >>> compress([[5, 2, 2, 2, 1]], height=4, width=3)
        [{'size': [4, 3], 'counts': '5220O'}]
    """
    if not counts:
        return []
    uncompressed = [{"size": [height, width], "counts": runs} for runs in counts]
    encoded = coco_mask.frPyObjects(uncompressed, height, width)
    return [RLE(size=[height, width], counts=rle["counts"].decode("ascii")) for rle in encoded]


def run_lengths(crop: Crop, height: int, width: int) -> list[int]:
    """Return the run lengths of a mask over the whole image, column by column, zeros first.

    A 2 x 2 crop of ones at row 1, column 1 of a 4 x 3 image (height x width):

        0 0 0        column-major: 0000 0110 0110        run lengths: [5, 2, 2, 2, 1]
        0 1 1
        0 1 1
        0 0 0

    Args:
        crop: the part of the image that holds the mask.
        height: rows of the image.
        width: columns of the image.

    Examples:
        >>> run_lengths(Crop(row=1, column=1, mask=np.ones((2, 2), bool)), height=4, width=3)
        [5, 2, 2, 2, 1]
    """
    rows, columns = crop.mask.shape
    flat = np.zeros(columns * (rows + 1) + 1, dtype=bool)  # a zero before the crop and after each of its columns,
    flat[1:].reshape(columns, rows + 1)[:, :rows] = crop.mask.T  # so that no run leaves its column
    changes = np.flatnonzero(flat[1:] != flat[:-1])  # in pairs: where a run starts, where the next zero is
    skipped = height - (rows + 1)  # pixels of the image, less the extra zero, between two columns of the crop
    borders = changes + changes // (rows + 1) * skipped + (crop.column * height + crop.row)
    if rows == height:  # a run at the end of its column joins one at the start of the next column
        joined = np.flatnonzero(borders[1:-1:2] == borders[2::2])
        borders = np.delete(borders, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    edges = np.concatenate([[0], borders, [height * width]])
    runs = (edges[1:] - edges[:-1]).tolist()
    return runs if runs[-1] else runs[:-1]


def decode_crop(rle: RLE) -> Crop | None:
    """Return the crop of a mask; None if it has no pixel.

    Damaged text, for which pycocotools writes outside of its memory, is refused.

    Raises:
        ValueError: if the text is damaged, or its runs do not add up to the image.
    """
    height, width = rle["size"]
    edges = np.cumsum(_parse_counts(rle["counts"]))
    if len(edges) == 0 or edges[-1] != height * width:
        raise ValueError(f"has run lengths that do not add up to {height} x {width} pixels")
    starts, ends = edges[:-1:2], edges[1::2]
    starts, ends = starts[ends > starts], ends[ends > starts]
    if len(starts) == 0:
        return None
    left, right = int(starts[0]) // height, int(ends[-1] - 1) // height + 1
    changes = np.zeros((right - left) * height + 1, np.int32)
    changes[starts - left * height] += 1
    changes[ends - left * height] -= 1
    return tight_crop(0, left, np.cumsum(changes[:-1]).astype(bool).reshape(right - left, height).T)


def _parse_counts(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed text: 5 bits a character, differences to the last but one."""
    counts: list[int] = []
    value = bits = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or bits > 40:
            raise ValueError("has damaged run lengths")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:  # more characters of this number follow
            continue
        if code & 16:  # its sign
            value -= 1 << bits
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = bits = 0
        if counts[-1] < 0:
            raise ValueError("has a negative run length")
    if bits:
        raise ValueError("has run lengths that are cut off")
    return counts


def tight_crop(row: int, column: int, mask: np.ndarray) -> Crop | None:
    """Return a crop without empty rows and columns around the mask; None if it has no pixel.

    Args:
        row: row of the image at which the mask begins.
        column: column of the image at which the mask begins.
        mask: (h, w) bool.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Crop(row + int(rows[0]), column + int(columns[0]), inside)


def area(rles: list[RLE]) -> np.ndarray:
    """Return the (N,) int64 number of pixels of each mask.

    Examples:
        >>> area(compress([[5, 2, 2, 2, 1]], height=4, width=3)).tolist()
        [4]
    """
    # pycocotools with numpy 2 cannot take more than 255 masks at once (it puts their number into a uint8).
    parts = [coco_mask.area(rles[start : start + 255]) for start in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0), *parts]).astype(np.int64)
