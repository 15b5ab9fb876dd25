"""Build a `Target` from label-map layers, at a cost that does not grow with the number of nuclei."""

import numpy as np
import torch

from nucleiseg.label_maps import measure
from nucleiseg.structures import Sample, Target


def planes_of(sample: Sample) -> np.ndarray:
    """Return the planes to transform with an image: its layers, then its ignore regions as one plane more.

    Returns:
        (L, H, W), the sample's own array, where there are no ignore regions; else (L + 1, H, W), a copy.
    """
    if sample.ignore is None:
        return sample.layers
    return np.concatenate([sample.layers, sample.ignore.plane[None].astype(sample.layers.dtype)])


def split_planes(planes: np.ndarray, sample: Sample) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the layers and the ignore plane of transformed `planes_of(sample)`: (L, h, w), and (h, w) or None."""
    count = len(sample.layers)
    return planes[:count], None if sample.ignore is None else planes[count]


def make_target(
    layers: np.ndarray,
    layer_index: np.ndarray,
    labels: np.ndarray,
    *,
    min_area: int = 1,
    name: str = "",
    scale: float = 1.0,
    seed: int | None = None,
    ignore: np.ndarray | None = None,
) -> Target:
    """Build the target of a transformed image from its layers alone; boxes are never transformed, always measured.

    Args:
        layers: (L, h, w) uint16 or int32 planes after all geometry; instance i of the source image has value i + 1.
        layer_index: (N,) plane of each instance of the *source* image.
        labels: (N,) class of each instance of the source image, from 1.
        min_area: instances with fewer pixels than this in `layers` are dropped, from the planes too.
        name: the image's name.
        scale: pixels of `layers` per pixel of the source image.
        seed: for the network's random numbers (see `Target`).
        ignore: (h, w) plane, not 0 in ignore regions, after all geometry; None: there are none.

    Returns:
        The instances still visible, in the order of their values; none is a valid target.
    """
    values, boxes, areas = measure(layers)
    planes = layers.astype(np.int32)  # a copy: the cache's planes may be a read-only file
    large = areas >= min_area
    if not large.all():
        planes[np.isin(planes, values[~large])] = 0
        values, boxes = values[large], boxes[large]
    return Target(
        boxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(labels[values - 1].astype(np.int64)),
        layers=torch.from_numpy(planes),
        layer_index=torch.from_numpy(layer_index[values - 1].astype(np.int64)),
        values=torch.from_numpy(values),
        name=name,
        scale=scale,
        seed=seed,
        ignore=None if ignore is None else torch.from_numpy(ignore != 0),
    )
