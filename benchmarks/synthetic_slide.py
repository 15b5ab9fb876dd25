"""Render a slide of any size: glass, a disc of tissue, and discs as nuclei, whose places are known.

    write_slide(Path("slide.tif"), side=40_000)      # 3 % tissue, 1 GB in JPEG, some MB of memory

Each pixel is a function of its coordinates, so that files are written tile by tile and any part can be checked.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

GLASS, STROMA, CHROMATIN = (244, 243, 245), (225, 170, 205), (90, 60, 140)
"""RGB of the parts."""

PITCH = 40
"""Pixels of a square cell that holds one nucleus."""

SHIFT = 4
"""Most pixels between the center of a nucleus and that of its cell, along each side."""

RADII = (9, 14)
"""Least radius of a nucleus in pixels, and that which none reaches."""

TILE = 512


class SyntheticSlide:
    """The content of a slide.

    Args:
        side: pixels of level 0 along each side.
        tissue: share of the slide that is tissue.
    """

    def __init__(self, side: int, tissue: float = 0.03) -> None:
        self.side = side
        self.radius = side * (tissue / np.pi) ** 0.5

    def nuclei(self) -> np.ndarray:
        """Return (N, 3) x, y and radius of the nuclei in pixels of level 0."""
        cells = np.arange(-(-self.side // PITCH))
        columns, rows = (grid.ravel() for grid in np.meshgrid(cells, cells))
        x, y, radius = _nucleus(columns, rows)
        inside = self._in_tissue(x, y)
        return np.stack([x[inside], y[inside], radius[inside]], axis=1)

    def render(self, top: int, left: int, height: int, width: int, downsample: int = 1) -> np.ndarray:
        """Return (height, width, 3) uint8 RGB of a level, each pixel the color at its center.

        Args:
            top: first row in pixels of the level.
            left: first column.
            height: rows.
            width: columns.
            downsample: pixels of level 0 per pixel of the level.
        """
        pixels = np.full((height, width, 3), GLASS, np.uint8)
        x = (np.arange(left, left + width)[None] + 0.5) * downsample
        y = (np.arange(top, top + height)[:, None] + 0.5) * downsample
        middle = self.side / 2
        nearest_x, nearest_y = np.clip(middle, x[0, 0], x[0, -1]), np.clip(middle, y[0, 0], y[-1, 0])
        if max(abs(nearest_x - middle), abs(nearest_y - middle)) > self.radius + PITCH:
            return pixels
        pixels[self._in_tissue(x, y)] = STROMA
        center_x, center_y, radius = _nucleus((x // PITCH).astype(np.int64), (y // PITCH).astype(np.int64))
        is_nucleus = (x - center_x) ** 2 + (y - center_y) ** 2 < radius**2
        pixels[is_nucleus & self._in_tissue(center_x, center_y)] = CHROMATIN
        return pixels

    def _in_tissue(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        inside: np.ndarray = (x - self.side / 2) ** 2 + (y - self.side / 2) ** 2 < self.radius**2
        return inside


def write_slide(
    path: Path,
    side: int,
    tissue: float = 0.03,
    mpp: float = 0.25,
    levels: tuple[int, ...] = (1, 4, 16),
    **options: Any,  # noqa: ANN401
) -> SyntheticSlide:
    """Write a pyramid of tiles as TIFF, a tile at a time.

    Args:
        path: the file.
        side: pixels of level 0 along each side.
        tissue: share of the slide that is tissue.
        mpp: micrometers per pixel that the file states.
        levels: downsampling of each level.
        **options: of `tifffile.TiffWriter.write`, as `compression`.
    """
    slide = SyntheticSlide(side, tissue)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for downsample in levels:
            pixels = side // downsample
            file.write(
                _tiles(slide, pixels, downsample),
                shape=(pixels, pixels, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                subfiletype=int(downsample > 1),
                resolution=(1e4 / mpp / downsample,) * 2,
                resolutionunit="CENTIMETER",
                **options,
            )
    return slide


def _tiles(slide: SyntheticSlide, pixels: int, downsample: int) -> Iterator[np.ndarray]:
    for top in range(0, pixels, TILE):
        for left in range(0, pixels, TILE):
            yield slide.render(top, left, TILE, TILE, downsample)


def _nucleus(column: np.ndarray, row: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, y and radius of the nuclei of cells: numbers that look random, from Knuth's multiplicative hash."""
    mixed = (column * 2_654_435_761 + row * 2_246_822_519) % 2**32
    spread = 2 * SHIFT + 1
    x = column * PITCH + PITCH // 2 + (mixed >> 7) % spread - SHIFT
    y = row * PITCH + PITCH // 2 + (mixed >> 13) % spread - SHIFT
    return x, y, RADII[0] + (mixed >> 19) % (RADII[1] - RADII[0])
