"""Lossless packing of instance masks into label-map layers, and back.

Three masks, of which the third overlaps the first, become two planes (`structures` draws the idea):

    1 1 0   0 0 0   0 0 0        1 1 0   0 0 0
    1 1 0   0 0 2   0 3 3   ->   1 1 2   0 3 3     layer_index = [0, 0, 1]
    0 0 0   0 0 0   0 3 3        0 0 0   0 3 3

Each instance goes on the first plane where all its pixels are still free, so that images without overlap need
one plane. All work stays inside the bounding box of the mask at hand: an image of thousands of nuclei never
exists as an array of (instances, height, width).
"""

from collections.abc import Iterable, Iterator

import numpy as np

LARGEST_UINT16 = int(np.iinfo(np.uint16).max)


def pack(masks: Iterable[np.ndarray], shape: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pack masks into as few planes as greedy first fit finds.

    Args:
        masks: (H, W) bool arrays, one an instance, each with at least one pixel; they are taken one at a time.
        shape: (H, W) of the planes; taken from the first mask by default, so needed where there may be none.

    Returns:
        layers: (L, H, W), L >= 1, uint16 up to 65,535 instances and int32 beyond; instance i has the value i + 1.
        layer_index: (N,) int64, the plane of each instance.

    Raises:
        ValueError: if a mask is empty or of another shape, or there are neither masks nor a shape.
    """
    planes: list[np.ndarray] = []
    layer_index: list[int] = []
    for number, mask in enumerate(masks, 1):
        shape = shape or mask.shape
        if mask.shape != shape:
            raise ValueError(f"mask {number} is {mask.shape}, the planes are {shape}")
        window = bounding_window(mask)
        if window is None:
            raise ValueError(f"mask {number} has no pixel")
        inside = mask[window] != 0
        plane = _first_free(planes, window, inside)
        if plane == len(planes):
            planes.append(np.zeros(shape, np.int32))
        planes[plane][window][inside] = number
        layer_index.append(plane)
    if shape is None:
        raise ValueError("the shape of the planes is needed where there are no masks")
    dtype = np.uint16 if len(layer_index) <= LARGEST_UINT16 else np.int32
    layers = np.zeros((max(len(planes), 1), *shape), dtype)
    for target, plane_values in zip(layers, planes, strict=False):  # no instance: one plane of background
        target[:] = plane_values
    return layers, np.array(layer_index, np.int64)


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


def _first_free(planes: list[np.ndarray], window: tuple[slice, slice], inside: np.ndarray) -> int:
    """Return the first plane without a label under `inside`, or the number of planes if each has one."""
    for plane, values in enumerate(planes):
        if not values[window][inside].any():
            return plane
    return len(planes)
