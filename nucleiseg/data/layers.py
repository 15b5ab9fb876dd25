"""Lossless packing of instance masks into label-map layers, and back.

Three masks, of which the third overlaps the first, become two planes (`structures` draws the idea):

    1 1 0   0 0 0   0 0 0        1 1 0   0 0 0
    1 1 0   0 0 2   0 3 3   ->   1 1 2   0 3 3     layer_index = [0, 0, 1]
    0 0 0   0 0 0   0 3 3        0 0 0   0 3 3

Each instance is put on the first plane where all its pixels are still free, so that images without overlap need
one plane. All work stays inside the bounding box of the mask at hand: an image of thousands of nuclei never
exists as an array of (instances, height, width).
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import cast

import numpy as np

from nucleiseg.rle import Crop

LARGEST_UINT16 = int(np.iinfo(np.uint16).max)

MOST_PLANES = 32
"""Planes of one image. Nuclei of a thick section lie over one another two or three deep; where dozens do, the masks
mark the background (inverted), and a plane for each of them would take memory and time without end."""


class TooManyPlanesError(ValueError):
    """More than `MOST_PLANES` masks lie over one another.

    Args:
        count: masks that were packed until then.
        large: how many of them cover more than half of the image.
    """

    def __init__(self, count: int, large: int) -> None:
        self.count, self.large = count, large
        super().__init__(f"{count} masks do not fit on {MOST_PLANES} planes")


def pack(masks: Iterable[np.ndarray], shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pack whole masks into as few planes as greedy first fit finds.

    Args:
        masks: (H, W) bool arrays, one an instance, each with at least one pixel; they are taken one at a time.
        shape: (H, W) of the planes; taken from the first mask by default, so needed where there may be none.

    Returns:
        See `pack_crops`.

    Raises:
        TooManyPlanesError: see `pack_crops`.
        ValueError: if a mask is empty or of another shape, or there are neither masks nor a shape.

    Examples:
        >>> first, second = np.array([[1, 1, 0]], bool), np.array([[0, 1, 1]], bool)  # they overlap in one pixel
        >>> layers, layer_index = pack([first, second])
        >>> layers.tolist(), layer_index.tolist()
        ([[[1, 1, 0]], [[0, 2, 2]]], [0, 1])
    """
    iterator = iter(masks)
    first = next(iterator, None)
    if shape is None and first is None:
        raise ValueError("the shape of the planes is needed where there are no masks")
    size = shape or cast(np.ndarray, first).shape

    def crops() -> Iterator[Crop]:
        for number, mask in enumerate(iterator if first is None else chain([first], iterator), 1):
            if mask.shape != size:
                raise ValueError(f"mask {number} is {mask.shape}, the planes are {size}")
            window = bounding_window(mask)
            if window is None:
                raise ValueError(f"mask {number} has no pixel")
            yield Crop(window[0].start, window[1].start, mask[window] != 0)

    return pack_crops(crops(), (size[0], size[1]))


def pack_crops(crops: Iterable[Crop], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pack instances that are given by their crops into as few planes as greedy first fit finds.

    Args:
        crops: the instances, each with at least one pixel, inside the image; they are taken one at a time.
        shape: (H, W) of the planes.

    Returns:
        layers: (L, H, W), L >= 1, uint16 up to 65,535 instances and int32 beyond; instance i has the value i + 1.
        layer_index: (N,) int64, the plane of each instance.

    Raises:
        TooManyPlanesError: if masks overlap so much that `MOST_PLANES` are not enough.
    """
    planes: list[np.ndarray] = []
    layer_index: list[int] = []
    free: list[int] = []  # pixels without a label: a mask with more of them is not tried on that plane
    large = 0
    for number, crop in enumerate(crops, 1):
        window, inside = crop.window, crop.mask
        area = int(np.count_nonzero(inside))
        large += 2 * area > shape[0] * shape[1]
        fits = (i for i, left in enumerate(free) if area <= left and _fits(planes[i], window, inside))
        plane = next(fits, len(free))
        if plane == MOST_PLANES:
            raise TooManyPlanesError(number, large)
        if plane == len(planes):
            planes.append(np.zeros(shape, np.int32))
            free.append(shape[0] * shape[1])
        free[plane] -= area
        planes[plane][window][inside] = number
        layer_index.append(plane)
    dtype = np.uint16 if len(layer_index) <= LARGEST_UINT16 else np.int32
    layers = np.zeros((max(len(planes), 1), *shape), dtype)
    for target, plane_values in zip(layers, planes, strict=False):  # no instance: one plane of background
        target[:] = plane_values
    return layers, np.array(layer_index, np.int64)


def pack_labels(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the instances of a label map from 1 in the order of their labels.

    Args:
        labels: (H, W) whole numbers from 0, the background.

    Returns:
        layers: (1, H, W), uint16 up to 65,535 instances and int32 beyond; instance i has the value i + 1.
        layer_index: (N,) int64, all 0.
    """
    values, numbers = np.unique(labels, return_inverse=True)
    count = int(np.count_nonzero(values))
    numbers = numbers.reshape(labels.shape) + (count == len(values))  # no background at all
    return numbers[None].astype(np.uint16 if count <= LARGEST_UINT16 else np.int32), np.zeros(count, np.int64)


def unpack(layers: np.ndarray, layer_index: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the (H, W) bool mask of each instance: the inverse of `pack`.

    Args:
        layers: (L, H, W) planes, instance i having the value i + 1.
        layer_index: (N,) the plane of each instance.

    Yields:
        The masks in the order of the instances.
    """
    for number, plane in enumerate(layer_index, 1):
        yield layers[plane] == number


def bounding_window(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Return the (rows, columns) slices of the smallest window that holds all of a (H, W) mask; None if empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return None
    row_slice = slice(int(rows[0]), int(rows[-1]) + 1)
    columns = np.flatnonzero(mask[row_slice].any(axis=0))
    return row_slice, slice(int(columns[0]), int(columns[-1]) + 1)


def _fits(plane: np.ndarray, window: tuple[slice, slice], inside: np.ndarray) -> bool:
    """Return whether a plane has no label under `inside`."""
    return not plane[window][inside].any()
