"""Predict a network's input tile by tile, where it is larger than memory should have to hold."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.inference.settings import TileSide
from nucleiseg.inference.stitching import stitch
from nucleiseg.inference.tiles import ALIGNMENT, Tile, TileGrid, aligned, overlap_for
from nucleiseg.progress import echo
from nucleiseg.structures import Prediction
from nucleiseg.transforms.preprocessing import Preprocessing

LARGEST_WHOLE = 4096 * 4096
"""Network pixels of an image from which on `tile=auto` takes tiles. A number, not the memory of this machine: the same
checkpoint and image give the same detections everywhere."""

LEAST_SIDE, MOST_SIDE = 512, 2048
"""Bounds of the side that "auto" chooses: below, tiles consist of overlap; above, they gain nothing but memory."""


class Tiling:
    """Predict a network's input in tiles where it is large or tiles are asked for, else whole.

    Args:
        tile: as in `PredictionSettings`.
        overlap: as its `tile_overlap`.
        largest: network pixels of the largest nuclei of the training; None if unknown.
        trained: how training showed an image: "auto" takes tiles of the size of its crops, whose statistics the
            normalization layers have learned to expect.

    Raises:
        InputError: if tiles of this side do not exceed the overlap that the largest nuclei need.
    """

    def __init__(self, tile: TileSide, overlap: int | None, largest: float | None, trained: Preprocessing) -> None:
        self.overlap = overlap_for(largest) if overlap is None else aligned(overlap)
        self._tile = tile
        if isinstance(tile, int):
            self.side = aligned(tile)
            if self.side < (least := self.overlap + ALIGNMENT):
                raise InputError(
                    f"tile is {tile}; it accepts a whole number of at least {least} for this checkpoint, whose largest "
                    f"nuclei need an overlap of {self.overlap}: give larger tiles, or tile_overlap."
                )
        else:
            shown = trained.short or 2 * LEAST_SIDE  # older checkpoints do not know the size of their crops
            self.side = aligned(max(min(max(shown, LEAST_SIDE), MOST_SIDE), 2 * self.overlap))
        self._echoed: set[str] = set()

    def grid(self, height: int, width: int) -> TileGrid | None:
        """Return the tiles of an image of network pixels; None where it is predicted whole."""
        fits = height * width <= LARGEST_WHOLE if self._tile == "auto" else max(height, width) <= self.side
        if self._tile is None or fits:
            return None
        return TileGrid(height, width, self.side, self.overlap)

    def count(self, image: Tensor) -> int:
        """Return the number of tiles of a (3, h, w) image; 1 where it is predicted whole."""
        return len(self.grid(*image.shape[-2:]) or [image])

    def detect(self, run: Callable[[Sequence[Tensor]], list[Prediction]], image: Tensor) -> Prediction:
        """Detect the instances of an image, whole or in tiles.

        Args:
            run: returns the detections of images of one shape, on the CPU.
            image: (3, h, w) uint8 of the network's size.

        Returns:
            The instances in network pixels, in descending score; `capped` if a tile reached the limit on detections.
        """
        height, width = image.shape[-2:]
        grid = self.grid(height, width)
        if grid is None:
            return replace(run([image])[0], capped=False)  # the limit holds for what is left in the end
        self._echo_once(
            f"Note: an image of {width} x {height} network pixels is predicted in {len(grid)} tiles of {grid.side} x "
            f"{grid.side} that overlap by {grid.overlap}."
        )
        parts: list[tuple[Tile, Prediction]] = []
        for tiles in grid.batches():
            windows = [image[:, top:bottom, left:right] for top, left, bottom, right in (it.window for it in tiles)]
            parts += zip(tiles, run(windows), strict=True)
        stitched = stitch(parts, (height, width))
        if stitched.cut:
            self._echo_once(
                f"Warning: {stitched.cut} nuclei may be cut where tiles meet: they are larger than {grid.largest} "
                f"network pixels, which an overlap of {grid.overlap} allows; raise tile_overlap, and tile with it."
            )
        return replace(stitched.prediction, capped=any(found.capped for _, found in parts))

    def masks(
        self,
        run: Callable[[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], list[Tensor]],
        image: Tensor,
        found: Prediction,
    ) -> Tensor:
        """Compute the masks of given boxes, each in the tile whose core holds the center of the box.

        Args:
            run: returns the masks of boxes, given images of one shape, their boxes and labels; on the CPU.
            image: (3, h, w) uint8 of the network's size.
            found: boxes and labels of N instances in network pixels.

        Returns:
            (N, M, M) float32 probabilities; (0, 0, 0) for no instances in tiles.
        """
        grid = self.grid(*image.shape[-2:])
        if grid is None:
            return run([image], [found.boxes], [found.labels])[0]
        centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
        rows, masks = [torch.zeros(0, dtype=torch.int64)], [found.boxes.new_zeros(0, 0, 0)]
        for tiles in grid.batches():
            windows, boxes, labels = [], [], []
            for tile in tiles:
                x1, y1, x2, y2 = tile.core
                is_own = (centers >= torch.tensor([x1, y1])) & (centers < torch.tensor([x2, y2]))
                own = torch.where(is_own.all(dim=1))[0]
                if len(own) == 0:
                    continue
                top, left, bottom, right = tile.window
                rows.append(own)
                windows.append(image[:, top:bottom, left:right])
                boxes.append(found.boxes[own] - torch.tensor([left, top, left, top]))
                labels.append(found.labels[own])
            if windows:
                masks += run(windows, boxes, labels)
        order = torch.cat(rows).argsort()
        return torch.cat(masks[1:] or masks)[order]

    def _echo_once(self, sentence: str) -> None:
        kind = sentence.partition(":")[0]
        if kind not in self._echoed:
            self._echoed.add(kind)
            echo(sentence)
