"""`write=[labels]`: a label image per image, as Fiji, napari, scikit-image and Bio-Formats open it.

0 is background; the value of a nucleus is its number in descending score, as in `nuclei/NAME.csv`. Overlaps are
resolved by `overlap_rules`. How many pixels that costs, and how many nuclei lose all of theirs, is in the file and is
logged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile

from nucleiseg.files import atomic_path
from nucleiseg.progress import counted, echo
from nucleiseg.writers.base import Add, FinishedImage, PredictedImage, Record, Writer
from nucleiseg.writers.overlap_rules import MOST_IN_UINT16, RULE, LabelImage

TILE = (512, 512)
"""Of a file with 32 bits, which holds a large image: readers fetch regions."""


class LabelImageWriter(Writer):
    """A TIFF an image: ImageJ's with 16 bits, OME-TIFF with 32 where there are more than 65,535 nuclei."""

    def write_image(self, path: Path, image: PredictedImage) -> Record:
        """Write the label image of one image, and return its losses."""
        write_labels(path, image.label_image, image.mpp)
        return {"lost": image.label_image.lost, "hidden": image.label_image.hidden}

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


def write_labels(path: Path, image: LabelImage, mpp: float | None = None, rule: str = RULE) -> None:
    """Write a label image as TIFF, whole or not at all.

    Args:
        path: the file.
        image: what to write.
        mpp: micrometers per pixel, for the file's resolution; None if unknown.
        rule: a sentence on overlaps, for the file's description.
    """
    note = f"{rule} Pixels lost: {image.lost}; nuclei without a pixel: {image.hidden}."
    most = int(image.labels.max(initial=0))
    with atomic_path(path) as temporary:
        if most <= MOST_IN_UINT16:  # ImageJ's integers have 8 or 16 bits
            tifffile.imwrite(
                temporary,
                image.labels.astype(np.uint16, copy=False),
                imagej=True,
                compression="zlib",
                resolution=None if mpp is None else (1 / mpp, 1 / mpp),
                metadata={"axes": "YX", "Info": note, "min": 0, "max": max(most, 1)}
                | ({} if mpp is None else {"unit": "um"}),
            )
        else:
            size = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
            tifffile.imwrite(
                temporary,
                image.labels.astype(np.uint32, copy=False),
                ome=True,
                tile=TILE,
                compression="zlib",
                predictor=True,
                resolution=None if mpp is None else (1e4 / mpp, 1e4 / mpp),
                resolutionunit=None if mpp is None else "CENTIMETER",
                metadata={"axes": "YX", "Description": note} | ({} if mpp is None else size),
            )
