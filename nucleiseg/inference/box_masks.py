"""Masks inside their boxes: pasting and run-length encoding without an array of the image per instance.

A prediction holds M x M probabilities on a regular grid over each box. `inference.pasting` resamples them to pixels, by
the rule that the prediction names, in the part of the image that the box reaches. Here they are cut at a threshold,
and the run-length code of the whole image follows from the column runs of the crop alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from pycocotools import mask as coco_mask

from nucleiseg.inference.pasting import SOFT_CROPS
from nucleiseg.structures import Pasting, Prediction

MASK_THRESHOLD = 0.5
"""Probability at which a pixel belongs to the instance (Mask R-CNN, He et al. 2017, section 3.1)."""


class RLE(TypedDict):
    """COCO's compressed run-length encoding of one mask: column-major runs, `counts` as JSON-ready text."""

    size: list[int]
    counts: str


@dataclass(frozen=True)
class Crop:
    """The part of the image in which one instance may have pixels.

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
        """Where the crop lies: an index for an (H, W, ...) array of the image."""
        height, width = self.mask.shape
        return slice(self.row, self.row + height), slice(self.column, self.column + width)


def paste(
    mask: np.ndarray, box: np.ndarray, height: int, width: int, pasting: Pasting = "detectron2"
) -> tuple[int, int, np.ndarray]:
    """Paste one mask into its part of the image.

    Args:
        mask: (M, M) float32 probabilities on a regular grid over the box.
        box: (4,) x1, y1, x2, y2 in pixels of the image (a full image is 0, 0, width, height).
        height: rows of the image.
        width: columns of the image.
        pasting: whose rule to follow.

    Returns:
        (first row, first column, (h, w) bool crop). The mask has no pixel outside the crop, which may be empty.
    """
    row, column, soft = next(SOFT_CROPS[pasting](np.asarray(mask)[None], np.asarray(box)[None], height, width))
    return row, column, soft >= MASK_THRESHOLD


def crops(prediction: Prediction) -> Iterator[Crop]:
    """Yield the pasted crop of each instance, in the prediction's order, by its rule of pasting.

    Args:
        prediction: instances in pixels of an image of `prediction.size`.
    """
    masks = prediction.masks.detach().float().cpu().numpy()
    boxes = prediction.boxes.detach().cpu().numpy()
    for row, column, soft in SOFT_CROPS[prediction.pasting](masks, boxes, *prediction.size):
        yield Crop(row, column, soft >= MASK_THRESHOLD)


def to_rle(prediction: Prediction) -> list[RLE]:
    """Encode each instance's mask over the whole image, straight from its crop.

    Args:
        prediction: instances in pixels of an image of `prediction.size`.

    Returns:
        One RLE an instance, in the prediction's order; equal to `pycocotools.mask.encode` of the pasted masks. An
        instance without a pixel is kept as an RLE of zeros, so that the list stays parallel to the scores
        (`area(rles) > 0` tells them apart; a submission leaves them out).
    """
    height, width = prediction.size
    return compress([run_lengths(crop, height, width) for crop in crops(prediction)], height, width)


def compress(counts: list[list[int]], height: int, width: int) -> list[RLE]:
    """Turn uncompressed run lengths into COCO's compressed text.

    Args:
        counts: for each mask, column-major run lengths that start with the zeros (see `run_lengths`).
        height: rows of the image.
        width: columns of the image.
    """
    if not counts:
        return []
    plain = [{"size": [height, width], "counts": runs} for runs in counts]
    encoded = coco_mask.frPyObjects(plain, height, width)
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
    """
    rows, columns = crop.mask.shape
    flat = np.zeros(columns * (rows + 1) + 1, dtype=bool)  # a zero before the crop and after each of its columns,
    flat[1:].reshape(columns, rows + 1)[:, :rows] = crop.mask.T  # so that no run leaves its column
    changes = np.flatnonzero(flat[1:] != flat[:-1])  # in pairs: where a run starts, where the next zero is
    skipped = height - (rows + 1)  # pixels of the image, less the extra zero, between two columns of the crop
    borders = changes + changes // (rows + 1) * skipped + (crop.column * height + crop.row)
    if rows == height:  # a run that ends with its column goes on where the next column starts with one
        joined = np.flatnonzero(borders[1:-1:2] == borders[2::2])
        borders = np.delete(borders, np.concatenate([2 * joined + 1, 2 * joined + 2]))
    edges = np.concatenate([[0], borders, [height * width]])
    runs = (edges[1:] - edges[:-1]).tolist()
    return runs if runs[-1] else runs[:-1]


def area(rles: list[RLE]) -> np.ndarray:
    """Return the (N,) int64 number of pixels of each mask."""
    # pycocotools with numpy 2 cannot take more than 255 masks at once (it puts their number into a uint8).
    parts = [coco_mask.area(rles[start : start + 255]) for start in range(0, len(rles), 255)]
    return np.concatenate([np.zeros(0), *parts]).astype(np.int64)
