"""Tell slides from images, and open them with the reader that fits.

OpenSlide reads the formats of scanners. TIFF, BigTIFF and OME-TIFF are read by tifffile: OpenSlide refuses strips, and
finds one level where the others are SubIFDs or have no `subfiletype`.
"""

from pathlib import Path

from nucleiseg.data.readers.pixels import TIFF_MAGIC
from nucleiseg.errors import InputError
from nucleiseg.files import require_regular_file
from nucleiseg.foreign_files import MOST_PIXELS
from nucleiseg.slides.openslide_slide import INSTALL, OpenSlideSlide, detect_vendor
from nucleiseg.slides.slide import Slide
from nucleiseg.slides.tiff_slide import TiffSlide, stored_levels

SCANNER_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".svslide", ".vms", ".vmu", ".bif", ".dcm")
"""Formats of scanners (https://openslide.org/formats); some are TIFF files with a structure of their own."""

TIFF_LIKE = ("aperio", "generic-tiff")
"""OpenSlide's names of formats that tifffile reads too, in a quarter of the time (1024 x 1024 in JPEG: 32 ms)."""


def is_slide(path: Path) -> bool:
    """Return whether a file is a whole slide: a scanner's format, a pyramid, or larger than images may be.

    Args:
        path: a file of any kind; one that cannot be opened is none.
    """
    if not path.is_file():
        return False
    if path.suffix.lower() in SCANNER_SUFFIXES:
        return True
    try:
        levels = stored_levels(path) if _is_tiff(path) else []
    except InputError:  # what no slide reader opens may still be an image
        return False
    return len(levels) > 1 or any(level.height * level.width > MOST_PIXELS for level in levels)


def open_slide(path: Path, bits: int | None = None) -> Slide:
    """Open a slide for reading; close it in the end (`contextlib.closing`).

    Args:
        path: the file.
        bits: the camera's bits per pixel in TIFF files that have 16.

    Raises:
        InputError: if it is missing or cannot be read, or the package that reads it is not installed.
    """
    require_regular_file(path)
    if not _is_tiff(path):
        return OpenSlideSlide(path)
    vendor = detect_vendor(path)
    if vendor is not None and vendor not in TIFF_LIKE:
        return OpenSlideSlide(path)
    if vendor is None and path.suffix.lower() in (".ndpi", ".scn", ".bif"):
        raise InputError(f"{path} is a slide that needs the package openslide-python: {INSTALL}.")
    return TiffSlide(path, bits)


def _is_tiff(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return handle.read(4) in TIFF_MAGIC
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
