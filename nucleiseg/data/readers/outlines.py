"""Check the outline of a nucleus as a file has it, and rasterize it; ellipses become polygons."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from nucleiseg.data.readers.polygons import fill_even_odd
from nucleiseg.errors import InputError
from nucleiseg.foreign_files import whole_number
from nucleiseg.rle import Crop
from nucleiseg.structures import Color

MOST_VERTICES = 1_000_000
"""Most vertices of one nucleus: some hundred are usual."""

REACH = 1e7
"""Largest coordinate in pixels: ten times the longest side of a slide."""

ELLIPSE_VERTICES = 72
"""Vertices of an ellipse: one of 100 pixels in diameter loses 0.1 % of its area."""


def fill_outline(rings: Sequence[np.ndarray], shape: tuple[int, int], noticed: Counter[str], where: str) -> Crop | None:
    """Return the pixels of one nucleus.

    Args:
        rings: (P, 2) x, y in pixels: the outline and its holes. Rings of fewer than three points have no pixel.
        shape: (H, W) of the image.
        noticed: counts a warning for an outline that is cut at the border of its image.
        where: what errors call the outline.

    Returns:
        The pixels in their tight box; None if there are none.

    Raises:
        InputError: for coordinates that are not finite, or beyond measure.
    """
    rings = [ring for ring in rings if len(ring) >= 3]
    if not rings:
        return None
    points = np.concatenate(rings)
    if len(points) > MOST_VERTICES or not (np.abs(points) <= REACH).all():
        raise InputError(
            f"{where} has {len(points):,} vertices, up to {MOST_VERTICES:,} are read; or one that is not a finite "
            f"number of pixels up to {REACH:g}."
        )
    crop = fill_even_odd(rings, *shape)
    if crop is not None:  # one pixel of tolerance: tools count pixels from their corner or from their center
        noticed["cut"] += bool((points < -1).any() or (points > np.array([shape[1], shape[0]]) + 1).any())
    return crop


def ellipse(center: Sequence[float], radii: Sequence[float], angle: float = 0.0) -> np.ndarray:
    """Return the (P, 2) vertices of an ellipse with radii along x and y, rotated by an angle in radians."""
    turns = np.linspace(0, 2 * np.pi, ELLIPSE_VERTICES, endpoint=False)
    x, y = radii[0] * np.cos(turns), radii[1] * np.sin(turns)
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack([center[0] + x * cosine - y * sine, center[1] + x * sine + y * cosine], axis=1)


def rectangle(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return the (4, 2) vertices of a rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def read_color(value: object) -> Color | None:
    """Return a color of a JSON or XML file: [r, g, b], or a whole number of 24 bits with red on top; else None.

    QuPath before 0.4 writes the number with a sign and an alpha of 255 above the 24 bits.
    """
    if isinstance(value, list | tuple) and len(value) == 3:
        parts = [whole_number(part) for part in value]
        if all(part is not None and 0 <= part <= 255 for part in parts):
            red, green, blue = (part or 0 for part in parts)
            return red, green, blue
    elif (number := whole_number(value)) is not None:
        return number >> 16 & 255, number >> 8 & 255, number & 255
    return None


def points_of(value: object, where: str) -> np.ndarray:
    """Return the (P, 2) points of a JSON list of [x, y] (further numbers of a point are ignored).

    Raises:
        InputError: if it is something else.
    """
    try:
        points = np.array([[float(point[0]), float(point[1])] for point in value])  # type: ignore[attr-defined]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise InputError(f"{where} has points that are not pairs of numbers.") from error
    return points.reshape(-1, 2)
