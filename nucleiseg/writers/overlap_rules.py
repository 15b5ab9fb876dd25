"""Paint masks that may overlap into one label image, and count the pixels and nuclei that it cannot hold.

Of detections, a pixel goes to the one with the highest mask probability there, and of equal ones to the most confident;
of annotations, to the smallest. For example:

    paint_by_probability(prediction).lost       # pixels of masks that belong to another nucleus in the label image
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nucleiseg.inference.box_masks import MASK_THRESHOLD, soft_crops
from nucleiseg.rle import Crop
from nucleiseg.structures import Prediction

MOST_IN_UINT16 = 65_535
"""Most labels of a label image with 16 bits."""

RULE = "Pixels of overlapping nuclei belong to the one with the highest mask probability there."

SMALLEST_RULE = "Pixels of overlapping nuclei belong to the smallest of them."
"""For annotated masks, which have no probabilities: a small nucleus on a large one stays visible."""


class LabelImage(NamedTuple):
    """A label image and its losses.

    Attributes:
        labels: (H, W) uint16 up to 65,535 instances and uint32 beyond; 0 is background, instance i (counted from 0) has
            the value i + 1.
        lost: number of pixels that a mask has and its label does not, of all instances together.
        hidden: number of instances without a pixel.
    """

    labels: np.ndarray
    lost: int
    hidden: int


def paint_by_probability(prediction: Prediction) -> LabelImage:
    """Paint instances into one label image; overlaps go to the highest mask probability, ties to the first instance.

    Args:
        prediction: instances in descending score, in pixels of an image of `prediction.size`.
    """
    labels = np.zeros(prediction.size, _dtype_for(len(prediction)))
    best = np.zeros(prediction.size, np.float32)
    claimed = 0
    for value, (row, column, soft) in enumerate(soft_crops(prediction), 1):
        window = (slice(row, row + soft.shape[0]), slice(column, column + soft.shape[1]))
        inside = soft >= MASK_THRESHOLD
        claimed += int(inside.sum())
        wins = inside & (soft > best[window])
        labels[window][wins] = value
        best[window][wins] = soft[wins]
    return _with_losses(labels, claimed, len(prediction))


def paint_by_size(crops: Sequence[Crop], shape: tuple[int, int]) -> LabelImage:
    """Paint instances into one label image; overlaps go to the smallest instance, of equal ones to the last.

    Args:
        crops: the pixels of each instance.
        shape: (H, W) of the image.
    """
    labels = np.zeros(shape, _dtype_for(len(crops)))
    areas = np.array([np.count_nonzero(crop.mask) for crop in crops], np.int64)
    for index in np.argsort(-areas, kind="stable"):
        labels[crops[index].window][crops[index].mask] = index + 1
    return _with_losses(labels, int(areas.sum()), len(crops))


def _dtype_for(count: int) -> type[np.unsignedinteger]:
    return np.uint16 if count <= MOST_IN_UINT16 else np.uint32


def _with_losses(labels: np.ndarray, claimed: int, count: int) -> LabelImage:
    """Count the losses of a label image.

    Args:
        labels: the label image.
        claimed: pixels of all masks together.
        count: number of instances.
    """
    is_shown = np.zeros(count + 1, bool)
    for line in labels:  # indexing by the whole image would copy it as int64
        is_shown[line] = True
    hidden = count - int(np.count_nonzero(is_shown[1:]))
    return LabelImage(labels, claimed - int(np.count_nonzero(labels)), hidden)
