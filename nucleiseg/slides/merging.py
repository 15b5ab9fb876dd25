"""Merge the blocks of a slide into one detection a nucleus, strip by strip, in constant memory.

The rule is that of `inference.stitching`, whose decisions are local: detections that may be one nucleus, or cover one
another, form a cluster, and no cluster affects another. So blocks are read a row at a time, and a cluster is decided
when the last row of windows that it can reach has been read:

    strip 1   . . . . . .        decided
              . . . x . .        x reaches into strip 2: it waits
    strip 2   . . . x . .        decided together

The result equals that of stitching all windows of the slide at once, in any order of the blocks' computation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from nucleiseg.inference.stitching import Pool, choose, pairs
from nucleiseg.inference.tiles import BAND, Tile
from nucleiseg.slides.blocks import Block, block_path
from nucleiseg.slides.plan import SlidePlan
from nucleiseg.structures import Prediction


@dataclass(frozen=True)
class Merged:
    """The nuclei that one window contributes.

    Attributes:
        tile: the window.
        found: its detections that are kept, in network pixels of the window.
        cut: (N,) bool, which of them no window shows whole.
    """

    tile: Tile
    found: Prediction
    cut: Tensor


@dataclass(frozen=True)
class _Part:
    """Detections of one window that are not decided yet.

    Attributes:
        tile: the window.
        found: in its network pixels, without masks.
        block: the block that holds the window.
        index: (N,) int64, place of each detection in the block.
    """

    tile: Tile
    found: Prediction
    block: int
    index: Tensor


def merge_blocks(plan: SlidePlan, folder: Path) -> Iterator[Merged]:
    """Yield the nuclei of a slide, window by window, as their clusters are decided.

    Args:
        plan: of the slide.
        folder: the work folder, with all blocks of the plan.

    Raises:
        InputError: if a block is missing or damaged.
    """
    waiting: list[_Part] = []
    numbered = enumerate(plan.blocks)
    for strip, group in groupby(numbered, key=lambda item: item[1][0].row // plan.block_side):
        parts = waiting + [part for number, tiles in group for part in _read_parts(folder, number, tiles)]
        parts.sort(key=lambda part: (part.tile.row, part.tile.column))
        last_row = min((strip + 1) * plan.block_side - 1, plan.windows[-1][0])
        next_top = (last_row + 1) * (plan.side - plan.overlap)
        waiting, decided = _divide(parts, plan, last_row, next_top)
        yield from _with_masks(folder, decided)
    yield from _with_masks(folder, _decide(waiting, plan))


def _read_parts(folder: Path, number: int, tiles: Sequence[Tile]) -> Iterator[_Part]:
    block = Block.read(block_path(folder, number), with_masks=False)
    start = 0
    for tile, count in zip(tiles, block.windows[:, 2].tolist(), strict=True):
        index = torch.arange(start, start + count)
        yield _Part(tile, _prediction(block, index, tile), number, index)
        start += count


def _prediction(block: Block, index: Tensor, tile: Tile) -> Prediction:
    chosen = index.numpy()
    return Prediction(
        boxes=torch.from_numpy(block.boxes[chosen]),
        scores=torch.from_numpy(block.scores[chosen]),
        labels=torch.from_numpy(block.labels[chosen].astype(np.int64)),
        masks=torch.from_numpy(block.masks[chosen].astype(np.float32)),
        size=tile.shape,
        pasting=block.pasting,
    )


Decided = list[tuple[_Part, Tensor, Tensor]]
"""Parts with the (K,) indices of the detections that are kept, and (K,) bool, which of them are cut."""


def _divide(parts: list[_Part], plan: SlidePlan, last_row: int, next_top: int) -> tuple[list[_Part], Decided]:
    """Decide the clusters that end above the next strip; return the parts of the others, and the decisions.

    Args:
        parts: by row and column of their windows.
        plan: of the slide.
        last_row: of windows, that the next strip may continue.
        next_top: first row of the windows below, in network pixels.
    """
    if not any(len(part.index) for part in parts):
        return [], []
    pool = _pool(parts, plan)
    row = torch.tensor([tile.row for tile in pool.tiles])[pool.tile]
    reaches_on = (row == last_row) & (pool.found.boxes[:, 3] >= next_top - BAND)
    cluster = _clusters(pool)
    is_open = torch.zeros(int(cluster.max()) + 1, dtype=torch.bool)
    is_open[cluster[reaches_on]] = True
    waits = is_open[cluster].split([len(part.index) for part in parts])
    waiting = [_select(part, waits_here) for part, waits_here in zip(parts, waits, strict=True)]
    closed = [_select(part, ~waits_here) for part, waits_here in zip(parts, waits, strict=True)]
    return [part for part in waiting if len(part.index)], _decide([part for part in closed if len(part.index)], plan)


def _decide(parts: list[_Part], plan: SlidePlan) -> Decided:
    """Choose one detection of each nucleus among those of whole clusters."""
    if not parts:
        return []
    pool = _pool(parts, plan)
    chosen, is_cut = choose(pool)
    decided: Decided = []
    starts = np.cumsum([0, *(len(part.index) for part in parts)])
    bounds = np.searchsorted(chosen.numpy(), starts)
    for part, start, first, end in zip(parts, starts, bounds[:-1], bounds[1:], strict=False):
        if end > first:
            decided.append((part, chosen[first:end] - int(start), is_cut[first:end]))
    return decided


def _clusters(pool: Pool) -> Tensor:
    """Return (N,) the cluster of each detection: those that stitching may compare, directly or through others."""
    in_core = pool.depth >= -BAND
    linked = [(first, second) for _, first, second in pairs(pool, torch.where(in_core & ~pool.touches)[0], BAND)]
    boxes, labels = pool.found.boxes, pool.found.labels
    for part in torch.where(in_core & pool.touches)[0].tolist():
        low, high = torch.maximum(boxes[:, :2], boxes[part, :2]), torch.minimum(boxes[:, 2:], boxes[part, 2:])
        meets = ((high > low).all(dim=1)) & (labels == labels[part]) & in_core
        linked += [(part, other) for other in torch.where(meets)[0].tolist()]
    count = len(pool.found)
    rows, columns = np.array(linked, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    return torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))


def _pool(parts: Sequence[_Part], plan: SlidePlan) -> Pool:
    return Pool.of([(part.tile, part.found) for part in parts], (plan.grid.height, plan.grid.width))


def _select(part: _Part, chosen: Tensor) -> _Part:
    """Return some detections of a part, by (N,) bool."""
    return replace(part, found=part.found[chosen], index=part.index[chosen])


def _with_masks(folder: Path, decided: Decided) -> Iterator[Merged]:
    """Read the masks of what is kept, block by block."""
    by_block = sorted(decided, key=lambda item: (item[0].block, item[0].tile.row, item[0].tile.column))
    for number, group in groupby(by_block, key=lambda item: item[0].block):
        block = Block.read(block_path(folder, number))
        for part, chosen, cut in group:
            yield Merged(part.tile, _prediction(block, part.index[chosen], part.tile), cut)
