"""Draw outlines of nuclei in lines that differ in color and pattern: solid, dashed, dotted or thick.

Important lines have a wider dark casing, which separates them from pink and purple tissue and dark backgrounds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import cv2
import numpy as np

from nucleiseg.evaluation.painting import decode
from nucleiseg.rle import RLE

CASING = (20, 20, 20)
"""RGB of the casing."""

CORNERS = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
"""Corners of a pixel, from its center."""

SUBPIXEL = 4
"""Fractional bits of the coordinates that OpenCV draws."""

Outline = list[np.ndarray]
"""The closed contours of one nucleus: (P, 2) x, y of border pixels' centers, for each of its parts."""


@dataclass(frozen=True)
class LineStyle:
    """Line style of the nuclei of one outcome.

    Attributes:
        color: RGB.
        pattern: of the line.
        width: in pixels of the picture.
        casing: width of the dark line below it; visible if wider than the line.
        dash: pixels from the start of one dash or dot to the next.
    """

    color: tuple[int, int, int]
    pattern: Literal["solid", "dashed", "dotted"]
    width: int
    casing: int
    dash: float = 8.0


def find_outlines(masks: Sequence[RLE]) -> list[Outline]:
    """Find the outline of each mask, in a window of its own columns of the image.

    Args:
        masks: valid run lengths over one image.
    """
    runs = decode(masks)
    height = masks[0]["size"][0] if masks else 1
    first = np.searchsorted(runs.instance, np.arange(len(masks) + 1))
    return [_outline(runs.start[begin:end], runs.stop[begin:end], height) for begin, end in pairwise(first.tolist())]


def _outline(start: np.ndarray, stop: np.ndarray, height: int) -> Outline:
    """Return the contours of the mask with these runs (column-major, as in `decode`)."""
    if not len(start):
        return []
    left = int(start[0]) // height
    columns = (int(stop[-1]) - 1) // height - left + 1
    window = np.zeros(columns * height, dtype=np.uint8)
    for begin, end in zip(start - left * height, stop - left * height, strict=True):
        window[begin:end] = 1
    crop = np.ascontiguousarray(window.reshape(columns, height).T)
    contours, _ = cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(left, 0))
    return [contour[:, 0] for contour in contours]


def draw_outlines(picture: np.ndarray, outlines: Sequence[Outline], style: LineStyle, scale: float) -> None:
    """Draw outlines onto a picture, in place.

    Args:
        picture: (H, W, 3) uint8 RGB, contiguous.
        outlines: in pixels of the image that the picture shows.
        style: of the lines.
        scale: pixels of the picture per pixel of the image.
    """
    contours = [contour for outline in outlines for contour in outline]
    # the contour of a single pixel is a point: draw the square of its corners
    contours = [contour if len(contour) > 1 else contour + CORNERS for contour in contours]
    contours = [(contour + 0.5) * scale - 0.5 for contour in contours]
    closed = style.pattern == "solid"
    lines = contours if closed else [dash for contour in contours for dash in _dashes(contour, style)]
    points = [np.round(line * 2**SUBPIXEL).astype(np.int32) for line in lines]
    for color, width in ((CASING, style.casing), (style.color, style.width)):
        cv2.polylines(picture, points, closed, color, width, cv2.LINE_AA, SUBPIXEL)


def _dashes(contour: np.ndarray, style: LineStyle) -> list[np.ndarray]:
    """Cut a closed contour into at least three dashes of equal length with gaps."""
    closed = np.concatenate([contour, contour[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = max(round(along[-1] / style.dash), 3)
    share = 0.55 if style.pattern == "dashed" else 0.02
    places = along[-1] / count * (np.arange(count)[:, None] + np.linspace(0, share, 6))
    x, y = (np.interp(places, along, closed[:, axis]) for axis in (0, 1))
    return list(np.stack([x, y], axis=2))
