"""Divide an image into overlapping tiles on a fixed grid.

Tiles start at multiples of their step from the upper left corner, and the last of a row or column ends with the image.
Neighbors split their overlap in the middle, so that the cores of all tiles partition the image:

    tiles    [0 ................ 512)
                        [320 ................ 832)
                                             [640 ........ 1000)
    cores    [0 .............. 416)[416 .. 736)[736 .... 1000)

For example:

    grid = TileGrid(height=1000, width=2000, side=512, overlap=192)
    [tile.window for tile in grid.tiles()]
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

ALIGNMENT = 64
"""Network pixels: sides, overlaps and steps of tiles are multiples of this, the stride of FPN's coarsest level, so that
each cell of a tile's features and anchors lies where that of the whole image would."""

BAND = 8
"""Network pixels by which a tile may take nuclei beyond its core: more than the center of a box differs between two
views of one nucleus."""

MARGIN = 32
"""Network pixels of context between a nucleus and the border of the tile that finds it: convolutions see zeros beyond
the border, where the whole image has tissue."""

LARGEST_NUCLEUS = 128
"""Network pixels that the largest nuclei are assumed to have, where a checkpoint does not know those of its training:
the largest anchors of the shipped models."""

BATCH_PIXELS = 2**22
"""Network pixels of the tiles that the network gets at once: four tiles of 1,024 x 1,024."""

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in network pixels of the image."""


@dataclass(frozen=True)
class Tile:
    """One tile of a grid.

    Attributes:
        row: of the grid, from 0.
        column: of the grid, from 0.
        window: (top, left, bottom, right), the part of the image that the network sees.
        core: the part in which the tile decides: up to the middle of its overlaps, and without an end (infinite) at the
            borders of the image.
    """

    row: int
    column: int
    window: tuple[int, int, int, int]
    core: Box

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the window."""
        top, left, bottom, right = self.window
        return bottom - top, right - left

    @property
    def inner_borders(self) -> Box:
        """The sides of the window as x1, y1, x2, y2; infinite where the image ends too, so that nothing is cut."""
        top, left, bottom, right = self.window
        sides = zip((left, top, right, bottom), self.core, strict=True)
        x1, y1, x2, y2 = (core if math.isinf(core) else float(side) for side, core in sides)
        return x1, y1, x2, y2


@dataclass(frozen=True)
class TileGrid:
    """The tiles of an image.

    Attributes:
        height: rows of the image in network pixels.
        width: columns of the image in network pixels.
        side: of the square tiles, in network pixels; those at the right and at the bottom end with the image.
        overlap: network pixels that neighbors share; less than `side`.
    """

    height: int
    width: int
    side: int
    overlap: int

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles, row by row."""
        for row, (top, bottom, core_top, core_bottom) in enumerate(self._spans(self.height)):
            for column, (left, right, core_left, core_right) in enumerate(self._spans(self.width)):
                window, core = (top, left, bottom, right), (core_left, core_top, core_right, core_bottom)
                yield Tile(row, column, window, core)

    def batches(self) -> Iterator[list[Tile]]:
        """Yield the tiles in lists of one shape: padding to a common one would change what normalization sees."""
        size = max(BATCH_PIXELS // self.side**2, 1)
        for _, group in groupby(sorted(self.tiles(), key=lambda tile: tile.shape), key=lambda tile: tile.shape):
            tiles = list(group)
            yield from (tiles[start : start + size] for start in range(0, len(tiles), size))

    def __len__(self) -> int:
        return len(self._spans(self.height)) * len(self._spans(self.width))

    @property
    def largest(self) -> int:
        """Network pixels of the largest nucleus that some tile is sure to see whole, with `MARGIN` around it."""
        return self.overlap - 2 * (BAND + MARGIN)

    def _spans(self, length: int) -> list[tuple[int, int, float, float]]:
        """Return first, end, and first and end of the core, of each tile along one side of the image."""
        step = self.side - self.overlap
        count = max(math.ceil((length - self.overlap) / step), 1)
        starts = [number * step for number in range(count)]
        middles = [-math.inf, *(start + self.overlap / 2 for start in starts[1:]), math.inf]
        return [
            (start, min(start + self.side, length), middles[number], middles[number + 1])
            for number, start in enumerate(starts)
        ]


def overlap_for(largest: float | None) -> int:
    """Return the overlap of tiles that lets one of them see each nucleus whole.

    A nucleus of diameter d that a tile may take has its center up to `BAND` beyond the middle of the overlap, and ends
    d / 2 further on; `MARGIN` of context follows. So the overlap is d + 2 (BAND + MARGIN), rounded up to `ALIGNMENT`.

    Args:
        largest: network pixels of the largest nuclei; None takes `LARGEST_NUCLEUS`.

    Examples:
        >>> overlap_for(60), overlap_for(None)
        (192, 256)
    """
    return aligned((LARGEST_NUCLEUS if largest is None else largest) + 2 * (BAND + MARGIN))


def aligned(length: float) -> int:
    """Return a length in pixels, rounded up to a multiple of `ALIGNMENT`."""
    return math.ceil(length / ALIGNMENT) * ALIGNMENT
