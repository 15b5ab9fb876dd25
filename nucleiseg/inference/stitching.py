"""Stitch the detections of overlapping tiles into those of the whole image, so that the seams do not show.

A detection qualifies if its center lies in the core of its tile, widened by a band, and its box ends before the tile
does, unless the image ends there, too:

    tile 1   [ . . . . . . . . . . . )            a nucleus whose center lies between ( and ) may be found by both
    tile 2               [ . . . . . . . . . . . )
    core 1, widened  . . . . . . (|)              |: the middle of the overlap, where the cores meet
    core 2, widened              (|) . . . . . .  (|): the band on both sides

Qualified detections of neighboring tiles and one class whose boxes have an IoU above `SAME_NUCLEUS` are one nucleus;
they are matched one to one, the best IoU first, and the one whose center is deepest in its own core is kept. Detections
of one tile never suppress each other: that is for the network's non-maximum suppression.

If tiles see the same boxes, the result is what a network without tiles would find, for any grid and order of tiles. If
the boxes of one nucleus differ by less than the band, nothing is lost or doubled but one of two nuclei whose own boxes
overlap by more than `SAME_NUCLEUS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torchvision.ops import box_iou

from nucleiseg.inference.tiles import BAND, Tile
from nucleiseg.structures import Prediction

SAME_NUCLEUS = 0.5
"""IoU of boxes above which two tiles have found one nucleus: above it, a box contains the center of the other."""

TOUCH = 2.0
"""Network pixels from a tile's border within which a box touches it: a nucleus that is cut ends there, or nearly so."""


@dataclass(frozen=True)
class Stitched:
    """The outcome of stitching.

    Attributes:
        prediction: the instances of the whole image, in descending score.
        cut: number of them that are larger than the overlap allows, so that no tile shows them whole.
    """

    prediction: Prediction
    cut: int


def stitch(parts: Sequence[tuple[Tile, Prediction]], size: tuple[int, int], band: float = BAND) -> Stitched:
    """Return the detections of a whole image, given those of its tiles.

    Args:
        parts: each tile of a grid with its detections in pixels of its window, in any order; at least one.
        size: (height, width) of the image.
        band: pixels by which the cores are widened.

    Returns:
        The instances in pixels of the image. Ties in score keep the order of tile rows, columns and detections.
    """
    pool = Pool.of(sorted(parts, key=lambda part: (part[0].row, part[0].column)), size)
    chosen, is_cut = choose(pool, band)
    best_first = pool.found.scores[chosen].sort(descending=True, stable=True).indices
    return Stitched(pool.found[chosen[best_first]], int(is_cut.sum()))


def choose(pool: "Pool", band: float = BAND) -> tuple[Tensor, Tensor]:
    """Choose one detection of each nucleus.

    Args:
        pool: detections of tiles, some or all.
        band: pixels by which the cores are widened.

    Returns:
        The (K,) rising indices of those to keep, and (K,) bool, which of them may be cut.
    """
    in_core = pool.depth >= -band
    qualified = torch.where(in_core & ~pool.touches)[0]
    kept = _one_of_each(pool, qualified, band)
    # a box that ends at a border with its center in the core is larger than any overlap lets a neighbor see whole
    shown_cut = _largest_parts(pool, torch.where(in_core & pool.touches)[0], kept)
    chosen, order = torch.cat([kept, shown_cut]).sort()
    return chosen, order >= len(kept)


@dataclass(frozen=True)
class Pool:
    """The detections of tiles in pixels of the image, tile after tile.

    Attributes:
        tiles: of the grid, in its order.
        found: N detections.
        tile: (N,) int64 index of each detection's tile.
        depth: (N,) distance of each center from the nearest end of its tile's core; negative outside the core.
        touches: (N,) bool, whether a box ends at a border of its tile where the image does not.
    """

    tiles: tuple[Tile, ...]
    found: Prediction
    tile: Tensor
    depth: Tensor
    touches: Tensor

    @classmethod
    def of(cls, parts: Sequence[tuple[Tile, Prediction]], size: tuple[int, int]) -> Self:
        """Pool the detections of tiles.

        Args:
            parts: each tile with its detections in pixels of its window, by row and column of the grid; at least one.
            size: (height, width) of the image.
        """
        tiles, found = zip(*parts, strict=True)
        tile = torch.repeat_interleave(torch.tensor([len(one) for one in found]))
        offsets = torch.tensor([[tile.window[1], tile.window[0]] * 2 for tile in tiles], dtype=torch.float32)
        boxes = torch.cat([one.boxes for one in found]) + offsets[tile]
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        core = torch.tensor([tile.core for tile in tiles])[tile]
        borders = torch.tensor([tile.inner_borders for tile in tiles])[tile]
        pooled = replace(
            found[0],
            boxes=boxes,
            scores=torch.cat([one.scores for one in found]),
            labels=torch.cat([one.labels for one in found]),
            masks=torch.cat([one.masks for one in found]),
            size=size,
        )
        return cls(
            tiles=tiles,
            found=pooled,
            tile=tile,
            depth=torch.cat([centers - core[:, :2], core[:, 2:] - centers], dim=1).amin(dim=1),
            touches=torch.cat(
                [boxes[:, :2] <= borders[:, :2] + TOUCH, boxes[:, 2:] >= borders[:, 2:] - TOUCH], dim=1
            ).any(dim=1),
        )


def _one_of_each(pool: Pool, qualified: Tensor, band: float) -> Tensor:
    """Return the (K,) indices of qualified detections without those of nuclei that a neighbor shows better."""
    best_first = sorted(pairs(pool, qualified, band), key=lambda pair: (-pair[0], pair[1:]))
    groups: dict[int, dict[int, int]] = {}  # detection -> the detections of its nucleus by tile; groups share the value
    for _, first, second in best_first:
        one = groups.get(first, {int(pool.tile[first]): first})
        other = groups.get(second, {int(pool.tile[second]): second})
        if one.keys().isdisjoint(other):  # one to one: a tile shows a nucleus once
            merged = one | other
            groups.update(dict.fromkeys(merged.values(), merged))
    is_kept = torch.zeros(len(pool.found), dtype=torch.bool)
    is_kept[qualified] = True
    for detection, group in groups.items():
        deepest = max(group.values(), key=lambda member: (float(pool.depth[member]), -member))
        is_kept[detection] = detection == deepest
    return torch.where(is_kept)[0]


def pairs(pool: Pool, qualified: Tensor, band: float) -> Iterator[tuple[float, int, int]]:
    """Yield (IoU, detection, detection) of qualified detections of neighboring tiles that show one nucleus.

    Args:
        pool: detections of tiles.
        qualified: (Q,) rising indices of those that are compared.
        band: pixels by which the cores are widened.
    """
    of_tile = dict(enumerate(qualified.split(torch.bincount(pool.tile[qualified], minlength=len(pool.tiles)).tolist())))
    numbers = {(tile.row, tile.column): number for number, tile in enumerate(pool.tiles)}
    boxes, labels = pool.found.boxes, pool.found.labels
    for number, tile in enumerate(pool.tiles):
        for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
            neighbor = numbers.get((tile.row + down, tile.column + right))
            if neighbor is None:
                continue
            # a box that shares more than half of another contains its center, which lies in the other's widened core
            first = of_tile[number][_reach(boxes[of_tile[number]], pool.tiles[neighbor], band)]
            second = of_tile[neighbor][_reach(boxes[of_tile[neighbor]], tile, band)]
            iou = box_iou(boxes[first], boxes[second])
            rows, columns = torch.where((iou > SAME_NUCLEUS) & (labels[first][:, None] == labels[second]))
            values = (iou[rows, columns], first[rows], second[columns])
            yield from zip(*(value.tolist() for value in values), strict=True)


def _reach(boxes: Tensor, tile: Tile, band: float) -> Tensor:
    """Return (N,) bool: which boxes reach into the widened core of a tile."""
    x1, y1, x2, y2 = tile.core
    low, high = boxes.new_tensor([x1 - band, y1 - band]), boxes.new_tensor([x2 + band, y2 + band])
    return (boxes[:, 2:] >= low).all(dim=1) & (boxes[:, :2] <= high).all(dim=1)


def _largest_parts(pool: Pool, cut: Tensor, kept: Tensor) -> Tensor:
    """Return the indices of cut detections that show the most of their nucleus, largest first.

    One that lies by more than half in a kept detection of its class from another tile shows the same nucleus.
    """
    boxes, labels = pool.found.boxes, pool.found.labels
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    shown, parts = kept, []
    for part in cut[areas[cut].sort(descending=True, stable=True).indices].tolist():
        low, high = torch.maximum(boxes[shown, :2], boxes[part, :2]), torch.minimum(boxes[shown, 2:], boxes[part, 2:])
        covered = (high - low).clamp(min=0).prod(dim=1) > areas[part] / 2
        if not (covered & (labels[shown] == labels[part]) & (pool.tile[shown] != pool.tile[part])).any():
            parts.append(part)
            shown = torch.cat([shown, torch.tensor([part])])
    return torch.tensor(parts, dtype=torch.int64)
