"""Suppress a detection whose mask lies on that of a more confident one.

Boxes of long nuclei that touch overlap more than the nuclei themselves, and two masks on one nucleus may have boxes
that overlap less than NMS on boxes allows. So boxes are suppressed at a looser threshold, and then masks by what they
share, in pixels of the source image:

    more confident   1 1 1 1 . .      IoU = 2 / 6, of the smaller: 2 / 4
    less confident   . . 2 2 2 2
"""

import numpy as np
import torch

from nucleiseg.inference.box_masks import crops
from nucleiseg.rle import Crop
from nucleiseg.structures import Prediction

LOOSE_BOX_NMS = 0.7
"""IoU of the box NMS before that of masks, where the user sets none: above it, boxes of two nuclei are rare."""

CANDIDATES = 2
"""Detections that may enter mask NMS for each one that may leave it: the looser box NMS keeps more duplicates."""


def suppress_masks(prediction: Prediction, iou: float, inside: float | None = None) -> Prediction:
    """Drop detections whose mask overlaps that of a more confident one of their class, greedily in descending score.

    Args:
        prediction: detections in descending score, in pixels of the image whose pixels are compared.
        iou: a mask with a greater intersection over union than this with a kept one is dropped.
        inside: a mask that shares more than this part of the smaller one with a kept one is dropped, too; None: none.

    Returns:
        The detections that are kept, in their order. Detections without a pixel overlap nothing.
    """
    masks = list(crops(prediction))
    areas = np.array([crop.mask.sum() for crop in masks], dtype=np.int64)
    bounds = np.array([_bounds(crop) for crop in masks], dtype=np.int64).reshape(-1, 4)
    labels = prediction.labels.cpu().numpy()
    kept: list[int] = []
    for index, crop in enumerate(masks):
        others = np.array(kept, dtype=np.int64)
        near = others[(labels[others] == labels[index]) & _overlap(bounds[others], bounds[index])]
        shared = np.array([_shared_pixels(crop, masks[other]) for other in near], dtype=np.int64)
        is_dropped = shared > iou * (areas[index] + areas[near] - shared)
        if inside is not None:
            is_dropped |= shared > inside * np.minimum(areas[index], areas[near])
        if not is_dropped.any():
            kept.append(index)
    return prediction[torch.tensor(kept, dtype=torch.int64, device=prediction.scores.device)]


def _bounds(crop: Crop) -> tuple[int, int, int, int]:
    """Return the first row and column of a crop, and those after its last."""
    height, width = crop.mask.shape
    return crop.row, crop.column, crop.row + height, crop.column + width


def _overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return (N,) bool: which of (N, 4) boxes share an area with one."""
    return (np.maximum(boxes[:, :2], box[:2]) < np.minimum(boxes[:, 2:], box[2:])).all(axis=1)


def _shared_pixels(one: Crop, other: Crop) -> int:
    """Count the pixels that two masks share, in the part of the image where their crops overlap."""
    top, left, bottom, right = (
        combine(values)
        for combine, values in zip((max, max, min, min), zip(_bounds(one), _bounds(other), strict=True), strict=True)
    )
    parts = [
        crop.mask[top - crop.row : bottom - crop.row, left - crop.column : right - crop.column] for crop in (one, other)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))
