"""Read TIFF, BigTIFF and OME-TIFF slides by regions with tifffile: tiles or strips, any compression it decodes.

Levels are pages with `subfiletype`, pages without it, or SubIFDs; only the segments that a region touches are decoded.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tifffile import TiffFile

from nucleiseg.data.readers.images import to_eight_bits
from nucleiseg.data.readers.resolution import read_mpp
from nucleiseg.errors import InputError
from nucleiseg.slides.slide import WHITE, Level, Resolution, Slide, power_resolution, pyramid

CACHE_BYTES = 1 << 26
"""Decoded segments that are kept, 64 MiB: neighboring windows overlap, and strips span all windows of a row."""

MOST_SEGMENT_BYTES = 1 << 30
"""Largest tile or strip that is decoded: files of one compressed strip are as large as the image."""

PALETTE = 3
"""Value of the tag PhotometricInterpretation (TIFF 6.0, section 5)."""


class TiffSlide(Slide):
    """A TIFF file.

    Args:
        path: the file.
        bits: the camera's bits per pixel in files that have 16.

    Raises:
        InputError: if it holds no RGB or gray image, or nothing here decodes its compression.
    """

    def __init__(self, path: Path, bits: int | None = None) -> None:
        super().__init__(path)
        self._bits = bits
        self._file, pages = _open(path)
        sizes = [(page.imagelength, page.imagewidth) for page in pages]
        chosen = pyramid(sizes)
        self.levels = tuple(chosen.values())
        self._pages = [pages[index] for index in chosen]
        stated = read_mpp(path)
        power = re.search(r"\|\s*AppMag\s*=\s*(\d+)", self._pages[0].description)  # Aperio's description
        self.resolution = (
            power_resolution(float(power[1]) if power else None) if stated is None else Resolution(stated, "the file")
        )
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], np.ndarray | None] = OrderedDict()
        self._cached_bytes = 0
        try:
            if (planes := sizes.count(self.size)) > 1:
                raise InputError(f"{path} holds {planes} images of equal size, a stack: save the one to predict alone.")
            self._require_readable()
        except InputError:
            self.close()
            raise

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Read a region, see `Slide.read`."""
        region = np.full((height, width, 3), WHITE, np.uint8)
        page = self._pages[level]
        rows, columns = _segment_shape(page)
        across = -(-page.imagewidth // columns)
        last_row, last_column = min(top + height, page.imagelength), min(left + width, page.imagewidth)
        for row in range(max(top, 0) // rows, -(-last_row // rows)):
            for column in range(max(left, 0) // columns, -(-last_column // columns)):
                segment = self._segment(level, row * across + column)
                if segment is None:
                    continue
                # the part of the segment inside both the image and the region
                y1, x1 = max(row * rows, top), max(column * columns, left)
                y2 = min(row * rows + segment.shape[0], last_row)
                x2 = min(column * columns + segment.shape[1], last_column)
                part = segment[y1 - row * rows : y2 - row * rows, x1 - column * columns : x2 - column * columns]
                region[y1 - top : y2 - top, x1 - left : x2 - left] = part
        return region

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _require_readable(self) -> None:
        """Refuse a file before hours of work end at its first region.

        Raises:
            InputError: naming what the pixels are, and what is accepted.
        """
        for page in self._pages:
            samples = page.samplesperpixel
            if samples not in (1, 3, 4) or (page.planarconfig == 2 and samples > 1) or page.photometric == PALETTE:
                raise InputError(
                    f"{self.path} has pixels of {samples} samples ({page.photometric.name}); slides of gray, RGB or "
                    "RGBA pixels are read: save it as RGB."
                )
            if page.dtype != np.uint8 and self._bits is None:
                raise InputError(
                    f"{self.path} has pixels of type {page.dtype}: give bits, the camera's bits per pixel, so that all "
                    "regions are brought to 8 bits alike."
                )
            rows, columns = _segment_shape(page)
            if rows * columns * samples * page.dtype.itemsize > MOST_SEGMENT_BYTES:
                raise InputError(
                    f"{self.path} holds {page.imagewidth} x {page.imagelength} pixels in parts of {columns} x {rows}, "
                    "which memory should not have to hold: save it with tiles of 256 or 512 pixels."
                )
        stored = np.flatnonzero(np.asarray(self._pages[0].databytecounts))
        self._segment(0, int(stored[0]) if len(stored) else 0)

    def _segment(self, level: int, index: int) -> np.ndarray | None:
        """Return a decoded tile or strip as (h, w, 3) uint8; None where nothing is stored."""
        key = (level, index)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
        decoded = self._decode(self._pages[level], index)
        with self._lock:
            if key not in self._cache:
                self._cache[key] = decoded
                self._cached_bytes += 0 if decoded is None else decoded.nbytes
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                _, oldest = self._cache.popitem(last=False)
                self._cached_bytes -= 0 if oldest is None else oldest.nbytes
        return decoded

    def _decode(self, page: Any, index: int) -> np.ndarray | None:  # noqa: ANN401
        try:
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            if not offset or not count:
                return None
            with self._lock:
                self._file.filehandle.seek(offset)
                data = self._file.filehandle.read(count)
            extra = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if _is_jpeg(page) else {}
            values, _, _ = page.decode(data, index, **extra)
            if values is None:
                return None
            return _to_rgb(values[0], self._bits)
        except Exception as error:  # decoders raise whatever a damaged file leads to
            if "imagecodecs" in str(error):
                raise InputError(
                    f"{self.path} is compressed by {page.compression.name}, which needs the package imagecodecs: "
                    "install it with pip install 'nucleiseg[wsi]'."
                ) from error
            raise InputError(f"{self.path} is damaged: part {index} of it cannot be decoded ({error}).") from error


def stored_levels(path: Path) -> list[Level]:
    """Return the levels of a TIFF file, whether or not its pixels can be decoded; none for a stack of images.

    Raises:
        InputError: if it is not a TIFF file.
    """
    file, pages = _open(path)
    file.close()
    sizes = [(page.imagelength, page.imagewidth) for page in pages]
    levels = list(pyramid(sizes).values())
    return levels if sizes.count((levels[0].height, levels[0].width)) == 1 else []


def _open(path: Path) -> tuple[TiffFile, list[Any]]:
    """Open a file, and return it with the pages that may be levels."""
    try:
        file = TiffFile(path)
        return file, list(_images(file))
    except Exception as error:  # tifffile raises whatever a damaged file leads to
        raise InputError(f"{path} is not a TIFF file that can be read ({error}): save it again.") from error


def _images(file: TiffFile) -> Iterator[Any]:
    """Yield the pages that may be levels: those of the file, and the SubIFDs of the first.

    Pages of another type or number of samples than the first (a mask, a label) cannot be levels.
    """
    first = file.pages.first
    for page in (each.aspage() for each in [*file.pages, *(first.pages or ())]):
        if (page.dtype, page.samplesperpixel) == (first.dtype, first.samplesperpixel):
            yield page


def _segment_shape(page: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return (rows, columns) of a page's tiles or strips."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _is_jpeg(page: Any) -> bool:  # noqa: ANN401
    return int(page.compression) in (6, 7, 34892, 33007)  # tifffile's own list


def _to_rgb(values: np.ndarray, bits: int | None) -> np.ndarray:
    levels = to_eight_bits(values[..., :3], bits)
    return np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else np.ascontiguousarray(levels)
