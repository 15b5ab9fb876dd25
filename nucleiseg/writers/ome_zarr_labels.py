"""`write=[zarr]`: an OME-Zarr store an image, pixels and label image as pyramids, for napari and QuPath.

    zarr/NAME.zarr                    the image, axes c, y, x
    zarr/NAME.zarr/labels/nuclei      the label image, axes y, x, as in `labels/NAME_labels.tif`

NGFF 0.4 (zarr 2), which QuPath 0.8 and all of napari's readers open. Labels lie inside an image's group, where
napari looks for them.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucleiseg.errors import InputError
from nucleiseg.files import atomic_folder
from nucleiseg.writers.base import PredictedImage, Record
from nucleiseg.writers.label_images import LabelImageWriter, paint_by_probability

CHUNK = 512
"""Side of a chunk in pixels."""

SMALLEST_LEVEL = 256
"""Pixels of the shorter side below which a pyramid gets no further level."""

NAME = "nuclei"
"""Of the label image in its store."""


class ZarrWriter(LabelImageWriter):
    """An OME-Zarr store an image; overlaps are resolved, and losses logged, as in label images."""

    def __init__(self) -> None:
        if importlib.util.find_spec("ome_zarr") is None:
            raise InputError("write=[zarr] needs the package ome-zarr: install it with pip install 'nucleiseg[zarr]'.")

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the store of one image, and return the losses of its label image."""
        painted = paint_by_probability(image.prediction[torch.from_numpy(image.counted)])
        shutil.rmtree(path, ignore_errors=True)  # of an image whose record a kill prevented
        with atomic_folder(path) as temporary:
            write_store(temporary, image.pixels, painted.labels, image.mpp)
        return {"lost": painted.lost, "hidden": painted.hidden}


def write_store(folder: Path, pixels: np.ndarray, labels: np.ndarray, mpp: float | None) -> None:
    """Write an image and its label image as pyramids; levels of labels take every second pixel, so none is invented.

    Args:
        folder: of the store; exists and is empty.
        pixels: (H, W, 3) uint8.
        labels: (H, W) uint32, 0 is the background.
        mpp: micrometers per pixel; None: unknown.
    """
    import zarr
    from ome_zarr.format import FormatV04
    from ome_zarr.writer import write_image, write_labels

    group = zarr.open_group(str(folder), mode="w", zarr_format=2)
    levels = range(1, max(min(labels.shape) // SMALLEST_LEVEL, 1).bit_length())
    common: dict[str, Any] = {"fmt": FormatV04(), "scale_factors": [2**level for level in levels]}
    if mpp is not None:
        common |= {"scale": {"c": 1.0, "y": mpp, "x": mpp}, "axes_units": {"y": "micrometer", "x": "micrometer"}}
    chunks = tuple(min(CHUNK, side) for side in labels.shape)
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    write_image(planes, group, axes="cyx", storage_options={"chunks": (1, *chunks)}, **common)
    if mpp is not None:
        common["scale"] = {"y": mpp, "x": mpp}
    # scaler=None: else ome-zarr takes its older argument, and makes four levels whatever the size
    write_labels(labels, group, name=NAME, axes="yx", scaler=None, storage_options={"chunks": chunks}, **common)
