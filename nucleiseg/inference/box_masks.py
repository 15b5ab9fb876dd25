"""Paste and run-length encode masks inside their boxes, without an array of the image per instance.

A prediction holds M x M probabilities on a regular grid over each box. `inference.pasting` resamples them to pixels, by
the rule that the prediction names, in the part of the image that the box reaches. Here they are thresholded, and the
run-length code of the whole image follows from the column runs of the crop alone.
"""

from collections.abc import Iterator

import numpy as np

from nucleiseg.inference.pasting import SOFT_CROPS, SoftCrop
from nucleiseg.rle import RLE, Crop, compress, run_lengths
from nucleiseg.structures import Pasting, Prediction

MASK_THRESHOLD = 0.5
"""Probability at which a pixel belongs to the instance (Mask R-CNN, He et al. 2017, section 3.1)."""


def paste(
    mask: np.ndarray, box: np.ndarray, height: int, width: int, pasting: Pasting = "detectron2"
) -> tuple[int, int, np.ndarray]:
    """Paste one mask into its part of the image.

    Args:
        mask: (M, M) float32 probabilities on a regular grid over the box.
        box: (4,) x1, y1, x2, y2 in pixels of the image (a full image is 0, 0, width, height).
        height: rows of the image.
        width: columns of the image.
        pasting: the rule, that of detectron2 or of torchvision.

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
    for row, column, soft in soft_crops(prediction):
        yield Crop(row, column, soft >= MASK_THRESHOLD)


def soft_crops(prediction: Prediction) -> Iterator[SoftCrop]:
    """Yield each instance's mask probabilities in its part of the image, in the prediction's order.

    Args:
        prediction: instances in pixels of an image of `prediction.size`.
    """
    masks = prediction.masks.detach().float().cpu().numpy()
    boxes = prediction.boxes.detach().cpu().numpy()
    yield from SOFT_CROPS[prediction.pasting](masks, boxes, *prediction.size)


def to_rle(prediction: Prediction) -> list[RLE]:
    """Encode each instance's mask over the whole image, straight from its crop.

    Args:
        prediction: instances in pixels of an image of `prediction.size`.

    Returns:
        One RLE an instance, in the prediction's order; equal to `pycocotools.mask.encode` of the pasted masks. An
        instance without a pixel is kept as an RLE of zeros, so that the list stays parallel to the scores
        (`area(rles) > 0` finds the others; result files leave it out).
    """
    height, width = prediction.size
    return compress([run_lengths(crop, height, width) for crop in crops(prediction)], height, width)
