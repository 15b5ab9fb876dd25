"""`write=[labels]`: a label image per image, as Fiji, napari, scikit-image and Bio-Formats open it.

0 is background; the value of a nucleus is its number in descending score, as in `nuclei/NAME.csv`. A pixel that several
masks claim goes to the one with the highest mask probability there, and of equal ones to the more confident nucleus.
How many pixels that costs, and which nuclei lose all of theirs, stands in the file and in the summary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile
import torch

from nucleiseg.files import atomic_path
from nucleiseg.inference.box_masks import MASK_THRESHOLD, soft_crops
from nucleiseg.progress import counted, echo
from nucleiseg.rle import Crop
from nucleiseg.structures import Prediction
from nucleiseg.writers.base import Add, FinishedImage, PredictedImage, Record, Writer

MOST_IN_UINT16 = 65_535
"""Most labels of an ImageJ file, whose integers have 8 or 16 bits; ImageJ shows none of 32."""

TILE = (512, 512)
"""Of a file with 32 bits, which holds a large image: readers fetch regions."""

RULE = "Pixels of overlapping nuclei belong to the one with the highest mask probability there."

SMALLEST_RULE = "Pixels of overlapping nuclei belong to the smallest of them."
"""For annotated masks, which have no probabilities: a small nucleus on a large one stays visible."""


class LabelImage(NamedTuple):
    """A label image and its losses.

    Attributes:
        labels: (H, W) uint32, 0 is background, instance i (counted from 0) has the value i + 1.
        lost: number of pixels that a mask has and its label does not, of all instances together.
        hidden: number of instances without a pixel.
    """

    labels: np.ndarray
    lost: int
    hidden: int


class LabelImageWriter(Writer):
    """A TIFF an image: ImageJ's with 16 bits, OME-TIFF with 32 where there are more than 65,535 nuclei."""

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the label image of one image, and return its losses."""
        painted = paint_by_probability(image.prediction[torch.from_numpy(image.counted)])
        write_labels(path, painted, image.mpp)
        return {"lost": painted.lost, "hidden": painted.hidden}

    @contextmanager
    def assembly(self, folder: Path) -> Iterator[Add]:
        """Log the losses of all images together."""
        lost = hidden = 0

        def add(image: FinishedImage) -> None:
            nonlocal lost, hidden
            lost, hidden = lost + image.record["lost"], hidden + image.record["hidden"]

        yield add
        if lost:
            echo(
                f"Label images: {RULE} {counted(lost, 'pixel')} of masks are lost to others"
                + (f", and {counted(hidden, 'nucleus', 'nuclei')} without a pixel left." if hidden else ".")
            )


def paint_by_probability(prediction: Prediction) -> LabelImage:
    """Paint instances into one label image; overlaps go to the highest mask probability, ties to the first instance.

    Args:
        prediction: instances in descending score, in pixels of an image of `prediction.size`.
    """
    labels = np.zeros(prediction.size, np.uint32)
    best = np.zeros(prediction.size, np.float32)
    claimed = 0
    for value, (row, column, soft) in enumerate(soft_crops(prediction), 1):
        window = (slice(row, row + soft.shape[0]), slice(column, column + soft.shape[1]))
        inside = soft >= MASK_THRESHOLD
        claimed += int(inside.sum())
        wins = inside & (soft > best[window])
        labels[window][wins] = value
        best[window][wins] = soft[wins]
    shown = np.count_nonzero(np.bincount(labels.ravel())[1:])
    return LabelImage(labels, claimed - int(np.count_nonzero(labels)), len(prediction) - int(shown))


def paint_by_size(crops: Sequence[Crop], shape: tuple[int, int]) -> LabelImage:
    """Paint instances into one label image; overlaps go to the smallest instance, of equal ones to the last.

    Args:
        crops: the pixels of each instance.
        shape: (H, W) of the image.
    """
    labels = np.zeros(shape, np.uint32)
    areas = np.array([np.count_nonzero(crop.mask) for crop in crops], np.int64)
    for index in np.argsort(-areas, kind="stable"):
        labels[crops[index].window][crops[index].mask] = index + 1
    shown = np.count_nonzero(np.bincount(labels.ravel())[1:])
    return LabelImage(labels, int(areas.sum()) - int(np.count_nonzero(labels)), len(crops) - int(shown))


def write_labels(path: Path, image: LabelImage, mpp: float | None = None, rule: str = RULE) -> None:
    """Write a label image as TIFF, whole or not at all.

    Args:
        path: the file.
        image: what to write.
        mpp: micrometers per pixel, for the file's resolution; None if unknown.
        rule: a sentence on overlaps, for the file's description.
    """
    note = f"{rule} Pixels lost: {image.lost}; nuclei without a pixel: {image.hidden}."
    with atomic_path(path) as temporary:
        if image.labels.max(initial=0) <= MOST_IN_UINT16:
            tifffile.imwrite(
                temporary,
                image.labels.astype(np.uint16),
                imagej=True,
                compression="zlib",
                resolution=None if mpp is None else (1 / mpp, 1 / mpp),
                metadata={"axes": "YX", "Info": note, "min": 0, "max": max(int(image.labels.max(initial=0)), 1)}
                | ({} if mpp is None else {"unit": "um"}),
            )
        else:
            size = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
            tifffile.imwrite(
                temporary,
                image.labels,
                ome=True,
                tile=TILE,
                compression="zlib",
                predictor=True,
                resolution=None if mpp is None else (1e4 / mpp, 1e4 / mpp),
                resolutionunit=None if mpp is None else "CENTIMETER",
                metadata={"axes": "YX", "Description": note} | ({} if mpp is None else size),
            )
