"""Find the tissue of a slide on a coarse grid, so that the network sees no empty glass.

Saturation separates stained tissue from gray glass; its threshold is Otsu's (1979). Gaps up to some 40 µm are closed,
holes filled, and parts below `LEAST_AREA` dropped as dust.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from nucleiseg.slides.slide import Slide

GRID_MPP = 8.0
"""Micrometers per cell of the grid: a nucleus or less, so that no cell needs more detail."""

LEAST_SATURATION = 12
"""Of 255: below, Otsu's threshold divides the noise of a slide without tissue. Glass has some 0 to 8, pale eosin 25."""

GAP = 5
"""Cells of the grid that closing bridges, 40 µm."""

LEAST_AREA = 0.1
"""Square millimeters of the smallest part of tissue that is kept."""

PEN_HUES = (20, 115)
"""OpenCV's hues (0 .. 180) from yellow over green to blue, which pens have; hematoxylin and eosin lie above 115."""

CHUNK = 2048
"""Pixels of a level that are read at once, along each side."""


@dataclass(frozen=True)
class TissueMask:
    """Cells of a slide that are worth a look.

    Attributes:
        mask: (h, w) bool.
        cell: pixels of level 0 per cell, along each side.
        pen: share of the mask whose color is that of pens.
    """

    mask: np.ndarray
    cell: int
    pen: float = 0.0

    def covers(self, top: int, left: int, bottom: int, right: int, share: float) -> bool:
        """Return whether at least a share of a window is in the mask (of 0: any cell of it).

        Args:
            top: first row in pixels of level 0.
            left: first column.
            bottom: row after the last.
            right: column after the last.
            share: 0 .. 1.
        """
        rows = slice(top // self.cell, max(-(-bottom // self.cell), top // self.cell + 1))
        columns = slice(left // self.cell, max(-(-right // self.cell), left // self.cell + 1))
        part = self.mask[rows, columns]
        return bool(part.any() and part.mean() >= share)

    def area(self, mpp: float) -> float:
        """Return the square millimeters of the mask, given micrometers per pixel of level 0."""
        return float(self.mask.sum()) * (self.cell * mpp / 1000) ** 2


def find_tissue(slide: Slide, mpp: float) -> TissueMask:
    """Find the tissue of a slide; memory holds the coarse grid and one part of a level at a time.

    Args:
        slide: an open slide.
        mpp: micrometers per pixel of its level 0.
    """
    thumbnail, cell = read_thumbnail(slide, GRID_MPP / mpp)
    hue, saturation, _ = cv2.split(cv2.cvtColor(thumbnail, cv2.COLOR_RGB2HSV))
    otsu, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = saturation > max(otsu, LEAST_SATURATION)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (GAP, GAP))
    mask = cv2.morphologyEx(np.pad(mask, GAP).astype(np.uint8), cv2.MORPH_CLOSE, kernel)[GAP:-GAP, GAP:-GAP] > 0
    mask = ndimage.binary_fill_holes(mask)
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    cells = np.bincount(parts.ravel(), minlength=count + 1)
    is_kept = cells * (cell * mpp / 1000) ** 2 >= LEAST_AREA
    is_kept[0] = False
    mask = is_kept[parts]
    is_pen = (hue > PEN_HUES[0]) & (hue < PEN_HUES[1]) & (saturation > max(otsu, LEAST_SATURATION))
    return TissueMask(mask, cell, float(is_pen[mask].mean()) if mask.any() else 0.0)


def whole_slide(slide: Slide, mpp: float | None) -> TissueMask:
    """Return a mask of everything, in cells of 32 pixels if micrometers per pixel are not known."""
    cell = cell_pixels(mpp)
    height, width = slide.size
    return TissueMask(np.ones((-(-height // cell), -(-width // cell)), bool), cell)


def cell_pixels(mpp: float | None) -> int:
    """Return the pixels of level 0 per cell of the grid; 32, as at 0.25 µm, if micrometers per pixel are not known."""
    return 32 if mpp is None else max(round(GRID_MPP / mpp), 1)


def read_thumbnail(slide: Slide, downsample: float) -> tuple[np.ndarray, int]:
    """Average a slide to about a downsampling, from the smallest level that has the detail, part by part.

    Args:
        slide: an open slide.
        downsample: pixels of level 0 per cell.

    Returns:
        ((h, w, 3) uint8, pixels of level 0 per cell).
    """
    number = slide.level_for(downsample)
    level = slide.levels[number]
    factor = max(round(downsample / level.downsample), 1)
    step = max(CHUNK // factor, 1) * factor
    cells = np.empty((-(-level.height // factor), -(-level.width // factor), 3), np.uint8)
    for top in range(0, level.height, step):
        for left in range(0, level.width, step):
            height = -(-min(step, level.height - top) // factor) * factor  # whole cells: white beyond the slide
            width = -(-min(step, level.width - left) // factor) * factor
            pixels = slide.read(number, top, left, height, width)
            shape = (width // factor, height // factor)
            row, column = top // factor, left // factor
            averaged = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
            cells[row : row + shape[1], column : column + shape[0]] = averaged
    return cells, factor * level.downsample
