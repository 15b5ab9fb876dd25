"""Merging strip by strip equals stitching all windows at once, whatever the blocks, also where chains cross strips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import CHECKPOINT

from nucleiseg.inference.stitching import stitch
from nucleiseg.inference.tiles import Tile, TileGrid
from nucleiseg.slides.blocks import Block, block_path
from nucleiseg.slides.merging import merge_blocks
from nucleiseg.slides.plan import SlidePlan
from nucleiseg.structures import Prediction

SIDE, OVERLAP, HEIGHT, WIDTH = 256, 128, 1100, 900


def plan_of(grid: TileGrid, block_side: int) -> SlidePlan:
    return SlidePlan(
        name="a.tif",
        slide="s",
        checkpoint=CHECKPOINT,
        prediction={},
        mask="none",
        mpp=0.25,
        level=0,
        downsample=1,
        size=(grid.height, grid.width),
        level_size=(grid.height, grid.width),
        side=grid.side,
        overlap=grid.overlap,
        step=grid.side - grid.overlap,
        block_side=block_side,
        windows=tuple((tile.row, tile.column) for tile in grid.tiles()),
        tissue_mm2=None,
    )


def random_views(grid: TileGrid, jitter: float, largest: float, seed: int) -> list[tuple[Tile, Prediction]]:
    """Return what each window finds of random boxes, many of which overlap or are larger than the overlap allows."""
    random = np.random.default_rng(seed)
    sides = random.uniform(8, largest, (400, 2))
    corners = random.uniform(0, 1, (400, 2)) * ([grid.width, grid.height] - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1)
    labels = random.integers(1, 3, 400)
    views = []
    for tile in grid.tiles():
        top, left, bottom, right = tile.window
        seen = boxes + random.uniform(-jitter, jitter, boxes.shape)
        seen = np.clip(seen - [left, top, left, top], 0, [right - left, bottom - top] * 2)
        found = np.flatnonzero((seen[:, 2:] > seen[:, :2] + 1).all(axis=1))
        scores = random.choice([0.3, 0.6, 0.9], len(found))
        found, scores = found[np.argsort(-scores, kind="stable")], np.sort(scores)[::-1].copy()
        prediction = Prediction(
            boxes=torch.tensor(seen[found], dtype=torch.float32),
            scores=torch.tensor(scores, dtype=torch.float32),
            labels=torch.tensor(labels[found]),
            masks=torch.tensor(found % 1000 / 1024, dtype=torch.float32)[:, None, None].repeat(1, 2, 2),
            size=tile.shape,
        )
        views.append((tile, prediction))
    return views


def write_blocks(plan: SlidePlan, views: list[tuple[Tile, Prediction]], folder: Path) -> None:
    by_tile = {(tile.row, tile.column): found for tile, found in views}
    for number, tiles in enumerate(plan.blocks):
        Block.of([(tile, by_tile[tile.row, tile.column]) for tile in tiles]).write(block_path(folder, number))


@pytest.mark.parametrize("block_side", [1, 2, 4, 9])
@pytest.mark.parametrize(("jitter", "largest"), [(0.0, 40.0), (3.0, 60.0), (8.0, 200.0)])
def test_strips_decide_as_all_windows_at_once(tmp_path: Path, block_side: int, jitter: float, largest: float) -> None:
    grid = TileGrid(HEIGHT, WIDTH, SIDE, OVERLAP)
    views = random_views(grid, jitter, largest, seed=int(largest))
    plan = plan_of(grid, block_side)
    write_blocks(plan, views, tmp_path)
    expected = stitch(views, (HEIGHT, WIDTH))
    found, cut = [], 0
    for merged in merge_blocks(plan, tmp_path):
        top, left, _, _ = merged.tile.window
        boxes = merged.found.boxes + torch.tensor([left, top, left, top])
        found += zip(boxes.tolist(), merged.found.scores.tolist(), merged.found.masks[:, 0, 0].tolist(), strict=True)
        cut += int(merged.cut.sum())
    prediction = expected.prediction
    columns = (prediction.boxes.tolist(), prediction.scores.tolist(), prediction.masks[:, 0, 0].tolist())
    assert sorted(found) == sorted(zip(*columns, strict=True))
    assert cut == expected.cut
    assert (cut > 0) == (largest == 200.0)


def test_windows_without_tissue_and_without_nuclei_are_no_obstacle(tmp_path: Path) -> None:
    grid = TileGrid(HEIGHT, WIDTH, SIDE, OVERLAP)
    views = random_views(grid, 1.0, 40.0, seed=5)
    kept = [(tile, found[:0] if tile.row == 6 else found) for tile, found in views if tile.row not in (2, 3)]
    windows = tuple((tile.row, tile.column) for tile, _ in kept)
    plan = replace(plan_of(grid, 2), windows=windows)
    write_blocks(plan, kept, tmp_path)
    found = sum(len(merged.found) for merged in merge_blocks(plan, tmp_path))
    assert found == len(stitch(kept, (HEIGHT, WIDTH)).prediction) > 100
    empty = [(tile, one[:0]) for tile, one in kept]
    write_blocks(plan, empty, tmp_path)
    assert list(merge_blocks(plan, tmp_path)) == []


def test_a_block_is_read_as_it_was_written(tmp_path: Path) -> None:
    views = random_views(TileGrid(300, 300, SIDE, OVERLAP), 0.0, 40.0, seed=1)
    block = Block.of(views)
    block.write(tmp_path / "a.block")
    again = Block.read(tmp_path / "a.block")
    for name in ("windows", "boxes", "scores", "labels", "masks"):
        assert np.array_equal(getattr(again, name), getattr(block, name))
    assert again.pasting == "detectron2"
    assert Block.read(tmp_path / "a.block", with_masks=False).masks.shape == (len(block.boxes), 0, 0)
    block.write(tmp_path / "b.block")
    assert (tmp_path / "a.block").read_bytes() == (tmp_path / "b.block").read_bytes()
