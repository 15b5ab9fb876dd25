"""Trace the outline of a mask along pixel edges: polygons with exactly the pixels' area, valid as they are.

    1 1 0        (0,0)-(2,0)-(2,1)-(1,1)-(1,2)-(0,2), and for the pixel that touches it at a corner alone
    1 0 0        a polygon of its own, (2,2)-(3,2)-(3,3)-(2,3)
    0 0 1

A point lies at the corner of a pixel, x to the right and y down from the upper left corner of the image, so coordinates
are whole numbers. Pixels are connected by their edges (4-connected): a polygon's interior is connected, its rings never
cross or touch themselves, and two rings share corners at most, which is what OGC's simple features (06-103r4, section
6.1.11) and so QuPath, shapely and PostGIS call valid.
"""

import cv2
import numpy as np

Ring = list[tuple[int, int]]
"""Corners (x, y) of a closed ring, the first one not repeated."""

Polygon = list[Ring]
"""The shell, clockwise as one sees it (y down), then the holes, counterclockwise."""

COPIES = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0])
"""How often the outline turns at a corner of pixels, by its code (`corner_codes`): once around one or three pixels,
twice between two that touch at the corner alone."""

FALLING = 9
"""Code of a corner between an upper left and a lower right pixel."""


def trace(mask: np.ndarray, row: int = 0, column: int = 0) -> list[Polygon]:
    """Return the polygons of a mask, one for each 4-connected part.

    Args:
        mask: (h, w) bool.
        row: of the image, at which the mask begins.
        column: of the image, at which the mask begins.
    """
    count, parts, windows, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    if count == 2:
        return [_trace_part(mask, row, column)]
    polygons = []
    for number, (left, top, width, height, _) in enumerate(windows[1:].tolist(), 1):
        part = parts[top : top + height, left : left + width] == number
        polygons.append(_trace_part(part, row + top, column + left))
    return polygons


def corner_codes(mask: np.ndarray) -> np.ndarray:
    """Return which of the four pixels around each corner are in a mask.

        upper left 1   upper right 2
        lower left 4   lower right 8

    Args:
        mask: (h, w) bool.

    Returns:
        (h + 1, w + 1) uint8, sums of these numbers.
    """
    height, width = mask.shape
    padded = np.zeros((height + 2, width + 2), np.uint8)
    padded[1:-1, 1:-1] = mask
    rows = padded[:-1] + 4 * padded[1:]
    return rows[:, :-1] + 2 * rows[:, 1:]


def ring_area(ring: Ring) -> float:
    """Return the area of a ring by the shoelace formula: above 0 for shells, below for holes."""
    following = [*ring[1:], ring[0]]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, following, strict=True)) / 2


def _trace_part(part: np.ndarray, row: int, column: int) -> Polygon:
    """Return the polygon of one 4-connected part, its shell first.

    The turns of an outline in the order of rows are joined by horizontal edges in pairs (first and second, third and
    fourth, ...), in the order of columns by vertical ones. Rings go along both in turn.

    Where two pixels of the part touch at a corner alone, two rings, or one twice, turn there. A ring that comes from
    above or below turns left, and so stays with its background region: the part connects the two pixels elsewhere, and
    so separates the regions on either side, each of which gets a ring of its own.
    """
    codes = corner_codes(part)
    height, width = codes.shape
    flat = codes.ravel()
    corners = np.flatnonzero(COPIES[flat])
    turns = np.repeat(corners, COPIES[flat[corners]])  # by rows; of two turns at a corner the left edge's first
    ys, xs = np.divmod(turns, width)
    # By columns; of two turns at a corner the upper edge's first: left goes with up where the pixels rise (/).
    is_second = np.zeros(len(turns), np.int64)
    is_second[1:] = turns[1:] == turns[:-1]
    is_second[flat[turns] == FALLING] ^= 1
    order = np.argsort(2 * (xs * height + ys) + is_second)
    vertical = np.empty(len(turns), np.int64)
    vertical[order] = order[np.arange(len(turns)) ^ 1]
    points = list(zip((xs + column).tolist(), (ys + row).tolist(), strict=True))
    rings: Polygon = []
    partner = vertical.tolist()
    is_free = bytearray(b"\1") * len(points)
    # The first free turn begins a topmost edge: of the part, which the shell follows to the right, or of a hole, which
    # lies below it and is followed to the left.
    first = is_free.find(1)
    while first >= 0:
        ring: Ring = []
        turn = start = first + bool(rings)
        while not ring or turn != start:
            ring += (points[turn], points[turn ^ 1])
            is_free[turn] = is_free[turn ^ 1] = 0
            turn = partner[turn ^ 1]
        rings.append(ring)
        first = is_free.find(1, first)
    return rings
