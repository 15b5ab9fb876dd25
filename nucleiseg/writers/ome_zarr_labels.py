"""`write=[zarr]`: an OME-Zarr store an image, pixels and label image as pyramids, for napari and QuPath.

    zarr/NAME.zarr                    the image, axes c, y, x
    zarr/NAME.zarr/labels/nuclei      the label image, axes y, x, as in `labels/NAME_labels.tif`

NGFF 0.4 (zarr 2; https://ngff.openmicroscopy.org/0.4), which QuPath 0.8 and all of napari's readers open. Labels lie
inside an image's group, where napari looks for them. Levels are written chunk by chunk from views of the arrays, so
memory does not grow by copies of them.
"""

import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.files import atomic_folder
from nucleiseg.writers.base import PredictedImage, Record
from nucleiseg.writers.label_images import LabelImageWriter

if TYPE_CHECKING:
    import zarr

CHUNK = 512
"""Side of a chunk in pixels."""

SMALLEST_LEVEL = 256
"""Pixels of the shorter side below which a pyramid gets no further level."""

NAME = "nuclei"
"""Of the label image in its store."""

VERSION = "0.4"
"""Of NGFF."""


class ZarrWriter(LabelImageWriter):
    """An OME-Zarr store an image; overlaps are resolved, and losses logged, as in label images."""

    def __init__(self) -> None:
        if importlib.util.find_spec("zarr") is None:
            raise InputError("write=[zarr] needs the package zarr: install it with pip install 'nucleiseg[zarr]'.")

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the store of one image, and return the losses of its label image."""
        painted = image.label_image
        shutil.rmtree(path, ignore_errors=True)  # of an image whose record a kill prevented
        with atomic_folder(path) as temporary:
            write_store(temporary, image.pixels, painted.labels, image.mpp)
        return {"lost": painted.lost, "hidden": painted.hidden}


def write_store(folder: Path, pixels: np.ndarray, labels: np.ndarray, mpp: float | None) -> None:
    """Write an image and its label image as pyramids.

    Each level has every second pixel of the one before, so that no label is invented, and image and labels agree.

    Args:
        folder: of the store; exists and is empty.
        pixels: (H, W, 3) uint8.
        labels: (H, W) uint16 or uint32, 0 is the background.
        mpp: micrometers per pixel; None: unknown.
    """
    import zarr

    root = zarr.open_group(str(folder), mode="w", zarr_format=2)
    root.attrs["multiscales"] = _write_pyramid(root, pixels.transpose(2, 0, 1), "cyx", mpp)
    group = root.create_group("labels")
    group.attrs["labels"] = [NAME]
    nuclei = group.create_group(NAME)
    nuclei.attrs["multiscales"] = _write_pyramid(nuclei, labels, "yx", mpp)
    nuclei.attrs["image-label"] = {"version": VERSION, "source": {"image": "../../"}}


def _write_pyramid(group: "zarr.Group", array: np.ndarray, axes: str, mpp: float | None) -> list[dict[str, Any]]:
    """Write the levels of an array as `0`, `1`, ..., and return their `multiscales` metadata."""
    from numcodecs import Blosc

    height, width = array.shape[-2:]
    datasets = []
    for level in range(max(min(height, width) // SMALLEST_LEVEL, 1).bit_length()):
        step = 2**level
        view = array[..., ::step, ::step]
        chunks = (1,) * (len(axes) - 2) + (min(CHUNK, view.shape[-2]), min(CHUNK, view.shape[-1]))
        target = group.create_array(
            str(level),
            shape=view.shape,
            dtype=view.dtype,
            chunks=chunks,
            compressors=Blosc(cname="zstd", clevel=5, shuffle=Blosc.SHUFFLE),  # as ome-zarr compresses
            chunk_key_encoding={"name": "v2", "separator": "/"},
            fill_value=0,
        )
        for top in range(0, view.shape[-2], CHUNK):  # zarr encodes all chunks of an assignment at once
            target[..., top : top + CHUNK, :] = view[..., top : top + CHUNK, :]
        scale = [float(step if mpp is None else step * mpp)] * 2
        scales = [{"type": "scale", "scale": [1.0] * (len(axes) - 2) + scale}]
        datasets.append({"path": str(level), "coordinateTransformations": scales})
    return [{"version": VERSION, "axes": _describe_axes(axes, mpp), "datasets": datasets}]


def _describe_axes(axes: Sequence[str], mpp: float | None) -> list[dict[str, str]]:
    """Return the `axes` metadata; lengths have a unit where micrometers per pixel are known."""
    unit = {} if mpp is None else {"unit": "micrometer"}
    return [
        {"name": "c", "type": "channel"} if axis == "c" else {"name": axis, "type": "space", **unit} for axis in axes
    ]
