"""Resize images and label planes by the rules of detectron2 with the pixels of Pillow.

Every COCO Mask R-CNN weight was trained on images that Pillow resized. OpenCV's bilinear filter differs from
Pillow's in every fourth pixel, and torch's antialiased uint8 `interpolate` in about 3 of 1000 (by one), so images
go through Pillow itself. Label planes go through OpenCV's INTER_NEAREST_EXACT, which picks the same source pixel as
Pillow's nearest filter and takes planes of any integer type; OpenCV's INTER_NEAREST does not.
"""

from typing import Annotated

import cv2
import numpy as np
import torch
from PIL import Image
from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from nucleiseg.settings import Accepts, AsTuple

SMALLEST_CROP = 16
"""Pixels: less shows no nucleus; a smaller whole number is rather a share without its decimal point."""

LARGEST_CROP = 100_000
"""Pixels: the side of the largest whole slides."""

Shape = tuple[int, int]
"""(height, width) in pixels."""


def _as_share_or_pixels(value: object) -> object:
    """Keep a small whole number from becoming a share: 1 would be the whole side."""
    if type(value) is int and value < SMALLEST_CROP:
        raise ValueError(f"{value} pixels")
    return value


CropSide = Annotated[
    Annotated[float, Field(gt=0, le=1)] | Annotated[int, Field(ge=SMALLEST_CROP, le=LARGEST_CROP)],
    BeforeValidator(_as_share_or_pixels),
]

Crop = Annotated[
    tuple[CropSide, CropSide],
    AsTuple,
    Accepts(
        f"[height, width], each a share of the image's side (0.5, up to 1.0, with the decimal point) or a whole number "
        f"of pixels from {SMALLEST_CROP} to {LARGEST_CROP:,}"
    ),
]
"""(height, width) of a crop: a float is a share of the image's side, an integer a number of pixels."""


def _ascending(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError(f"{limits[0]} is above {limits[1]}")
    return limits


Ascending = AfterValidator(_ascending)
"""Marks a pair of numbers whose first must not be above its second."""


def crop_shape(height: int, width: int, crop: Crop, factor: float = 1.0) -> Shape:
    """Return the size of a crop of an image, in the image's pixels.

    A float share f gives `int(side * f + 0.5)` (detectron2's rule for relative crops), an integer that many
    pixels. No crop is larger than the image or smaller than one pixel.

    Args:
        height: the image's height.
        width: the image's width.
        crop: (height, width) of the crop, shares or pixels.
        factor: both sides of the crop are multiplied by it before rounding.

    Examples:
        >>> crop_shape(1000, 800, (0.5, 0.5)), crop_shape(1000, 800, (256, 1024))
        ((500, 400), (256, 800))
    """

    def side(length: int, wanted: float | int) -> int:
        pixels = length * wanted if isinstance(wanted, float) else wanted
        return min(max(int(pixels * factor + 0.5), 1), length)

    return side(height, crop[0]), side(width, crop[1])


def resize_scale(height: int, width: int, short: float, long: float) -> float:
    """Return output pixels per input pixel of the shortest-edge rule, before sides are rounded to whole pixels."""
    return min(short / min(height, width), long / max(height, width))


def resized_shape(height: int, width: int, short: float, long: float) -> Shape:
    """Return the size to which the shortest-edge rule brings an image (detectron2's `ResizeShortestEdge`).

    The shorter side becomes `short`; if the longer one would then exceed `long`, both shrink so that it is `long`.
    Sides are rounded half up, and are never zero.

    Args:
        height: the image's height.
        width: the image's width.
        short: wanted length of the shorter side.
        long: greatest length of the longer side; infinity sets no limit.

    Examples:
        >>> resized_shape(500, 500, short=608, long=800), resized_shape(500, 1000, short=608, long=800)
        ((608, 608), (400, 800))
    """
    scale = short / min(height, width)
    sides = (float(short), scale * width) if height < width else (scale * height, float(short))
    if max(sides) > long:
        shrink = long / max(sides)
        sides = (sides[0] * shrink, sides[1] * shrink)
    return max(int(sides[0] + 0.5), 1), max(int(sides[1] + 0.5), 1)


def resize_image(image: np.ndarray, shape: Shape) -> np.ndarray:
    """Resize an image with Pillow's bilinear filter (antialiased when shrinking), on 8-bit values.

    Args:
        image: (H, W, 3) uint8.
        shape: (h, w) of the result.

    Returns:
        (h, w, 3) uint8. The same object where the size does not change.
    """
    if image.shape[:2] == tuple(shape):
        return image
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.array(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def resize_layers(layers: np.ndarray, shape: Shape) -> np.ndarray:
    """Resize label-map planes by nearest neighbor, as Pillow would resize each instance's mask.

    Each output pixel copies one input pixel, so no value is invented and the planes of the result are the planes
    of the resized masks.

    Args:
        layers: (L, H, W) uint16 or int32.
        shape: (h, w) of the result.

    Returns:
        (L, h, w) of the same dtype. The same object where the size does not change.
    """
    if layers.shape[1:] == tuple(shape):
        return layers
    resized = np.empty((len(layers), *shape), dtype=layers.dtype)
    for plane, source in zip(resized, layers, strict=True):
        cv2.resize(source, (shape[1], shape[0]), dst=plane, interpolation=cv2.INTER_NEAREST_EXACT)
    return resized


def to_tensor(image: np.ndarray) -> Tensor:
    """Turn an (H, W, 3) image into the network's (3, H, W) tensor, with memory of its own."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())
