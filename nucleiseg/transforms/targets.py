"""Build a `Target` from label-map layers, at a cost that does not grow with the number of nuclei."""

import numpy as np
import torch

from nucleiseg.label_maps import measure
from nucleiseg.structures import Target


def make_target(
    layers: np.ndarray,
    layer_index: np.ndarray,
    labels: np.ndarray,
    *,
    min_area: int = 1,
    name: str = "",
    scale: float = 1.0,
    seed: int | None = None,
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
    )
