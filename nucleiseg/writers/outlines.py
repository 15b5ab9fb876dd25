"""Trace the outline of a mask along pixel edges: polygons with exactly the pixels' area, valid as they are.

    1 1 0        (0,0)-(2,0)-(2,1)-(1,1)-(1,2)-(0,2), and for the pixel that touches it at a corner alone
    1 0 0        a polygon of its own, (2,2)-(3,2)-(3,3)-(2,3)
    0 0 1

A point lies at the corner of a pixel, x to the right and y down from the upper left corner of the image, so coordinates
are whole numbers. Pixels are connected by their edges (4-connected): a polygon's interior is connected, its rings never
cross or touch themselves, and two rings share corners at most, which is what OGC's simple features (06-103r4, section
6.1.11) and so QuPath, shapely and PostGIS call valid.
"""

import numpy as np
from scipy import ndimage

Ring = list[tuple[int, int]]
"""Corners (x, y) of a closed ring, the first one not repeated."""

Polygon = list[Ring]
"""The shell, clockwise as one sees it (y down), then the holes, counterclockwise."""

STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
"""Right, down, left, up: directions in clockwise order."""


def trace(mask: np.ndarray, row: int = 0, column: int = 0) -> list[Polygon]:
    """Return the polygons of a mask, one for each 4-connected part.

    Args:
        mask: (h, w) bool.
        row: of the image, at which the mask begins.
        column: of the image, at which the mask begins.
    """
    parts, count = ndimage.label(mask)
    if count == 1:
        return [_trace_part(np.asarray(mask, dtype=bool), row, column)]
    polygons = []
    for number, window in enumerate(ndimage.find_objects(parts), 1):
        top, left = window[0].start, window[1].start
        polygons.append(_trace_part(parts[window] == number, row + top, column + left))
    return polygons


def ring_area(ring: Ring) -> float:
    """Return the area of a ring by the shoelace formula: above 0 for shells, below for holes."""
    following = [*ring[1:], ring[0]]
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(ring, following, strict=True)) / 2


def _trace_part(part: np.ndarray, row: int, column: int) -> Polygon:
    """Return the polygon of one 4-connected part: its shell first, whichever ring is found first."""
    rings = _follow_edges(part)
    rings.sort(key=lambda ring: ring_area(ring) < 0)  # one shell
    return [[(x + column, y + row) for x, y in ring] for ring in rings]


def _follow_edges(part: np.ndarray) -> list[Ring]:
    """Join the pixel edges between foreground and background to rings, foreground on the right-hand side.

    Where two pixels of the part touch at a corner alone, two edges leave that corner. The ring takes the left one and
    so stays with its background region: the part connects the two pixels elsewhere, and so separates the regions on
    either side, each of which gets a ring of its own.
    """
    padded = np.pad(part, 1)
    inside = padded[1:-1, 1:-1]
    width = part.shape[1] + 1
    edges = set()
    for direction, (neighbor, corner) in enumerate(
        (
            (padded[:-2, 1:-1], (0, 0)),  # above: from the upper left corner to the right
            (padded[1:-1, 2:], (0, 1)),  # right of it: from the upper right corner down
            (padded[2:, 1:-1], (1, 1)),  # below: from the lower right corner to the left
            (padded[1:-1, :-2], (1, 0)),  # left of it: from the lower left corner up
        )
    ):
        rows, columns = np.nonzero(inside & ~neighbor)
        starts = (rows + corner[0]) * width + columns + corner[1]
        edges.update((4 * starts + direction).tolist())
    rings = []
    moves = [dx + dy * width for dx, dy in STEPS]
    while edges:
        edge = first = edges.pop()
        edges.add(first)  # until the ring returns to it
        corners: Ring = []
        while edge != first or not corners:
            direction = edge % 4
            place = edge // 4 + moves[direction]
            turns = ((direction + 3) % 4, direction, (direction + 1) % 4)  # left, straight on, right
            edge = next(4 * place + turn for turn in turns if 4 * place + turn in edges)
            edges.remove(edge)
            if edge % 4 != direction:
                corners.append((place % width, place // width))
        rings.append(corners)
    return rings
