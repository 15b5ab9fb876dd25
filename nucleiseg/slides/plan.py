"""The plan of a slide's prediction: everything that a block of windows depends on, as `plan.json` holds it.

Windows lie on a fixed grid from the upper left corner. Each begins at a whole pixel of the level that is read, and so
of level 0, and at a multiple of 64 network pixels, so that neighbors resample the pixels that they share alike:

    level pixels     0 ......... step ........ 2 step      step: a whole number
    network pixels   0 ... side - overlap ...              their ratio is the scale, within 0.1 % of the wanted one
"""

import math
from collections import defaultdict
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from nucleiseg.errors import InputError, some
from nucleiseg.files import write_json
from nucleiseg.foreign_files import read_json
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tiles import Tile, TileGrid, aligned
from nucleiseg.inference.tiling import Tiling
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.settings import AsTuple, Settings, settings, to_container
from nucleiseg.slides.slide import Slide
from nucleiseg.slides.tissue import TissueMask
from nucleiseg.transforms.preprocessing import Preprocessing

VERSION = 1
"""Of the plan and the blocks: a folder that was begun with another rule is not continued."""

PLAN = "plan.json"

BLOCK_SIDE = 4
"""Windows of a block along each side: some 10 megapixels, seconds on a GPU and minutes on a CPU are lost by a kill."""

LEAST_TISSUE = 0.01
"""Share of tissue from which on a window is predicted."""

Windows = Annotated[tuple[Annotated[tuple[int, int], AsTuple], ...], AsTuple]
"""(row, column) of windows of the grid."""


@settings
class SlidePlan(Settings):
    """The plan of one slide.

    Attributes:
        name: of the slide's file, without its folder.
        slide: digest of the slide.
        checkpoint: digest of the checkpoint.
        prediction: `PredictionSettings.to_dict()` without the device.
        mask: what limits the work: `tissue`, `none`, or the digest of a file of regions.
        mpp: micrometers per pixel of level 0; None where the scale was given.
        level: index of the level that is read.
        downsample: pixels of level 0 per pixel of that level.
        size: (height, width) of level 0.
        level_size: (height, width) of the level that is read.
        side: of a window, in network pixels.
        overlap: of neighboring windows, in network pixels.
        step: pixels of the level per `side - overlap` network pixels.
        block_side: windows of a block along each side.
        windows: those to predict, row by row.
        tissue_mm2: area of the mask; None where `mpp` is unknown.
        version: of this form.
    """

    name: str
    slide: str
    checkpoint: str
    prediction: dict[str, Any]
    mask: str
    mpp: float | None
    level: int
    downsample: int
    size: Annotated[tuple[int, int], AsTuple]
    level_size: Annotated[tuple[int, int], AsTuple]
    side: int
    overlap: int
    step: int
    block_side: int
    windows: Windows
    tissue_mm2: float | None
    version: int = VERSION

    @property
    def scale(self) -> float:
        """Network pixels per pixel of the level."""
        return (self.side - self.overlap) / self.step

    @cached_property
    def grid(self) -> TileGrid:
        """The windows of the whole slide, in network pixels: whole ones, so that all have one scale up to the edge."""
        height, width = (max(int(side * self.scale + 1e-6), 1) for side in self.level_size)
        return TileGrid(height, width, self.side, self.overlap)

    @cached_property
    def tiles(self) -> dict[tuple[int, int], Tile]:
        """(row, column) -> the window, for those to predict, row by row."""
        chosen = set(self.windows)
        return {key: tile for tile in self.grid.tiles() if (key := (tile.row, tile.column)) in chosen}

    @cached_property
    def blocks(self) -> list[list[Tile]]:
        """The windows to predict in squares of `block_side`, row by row; the index of a block is its number."""
        blocks: dict[tuple[int, int], list[Tile]] = defaultdict(list)
        for (row, column), tile in self.tiles.items():
            blocks[row // self.block_side, column // self.block_side].append(tile)
        return [blocks[key] for key in sorted(blocks)]

    def region(self, tile: Tile) -> tuple[int, int, float, float]:
        """Return where a window lies: top and left in whole pixels of the level, height and width in parts of them."""
        top, left = tile.row * self.step, tile.column * self.step
        height, width = (
            min(pixels / self.scale, limit - start)
            for pixels, limit, start in zip(tile.shape, self.level_size, (top, left), strict=True)
        )
        return top, left, height, width

    def read(self, slide: Slide, tile: Tile) -> np.ndarray:
        """Read a window at the network's scale.

        Args:
            slide: the slide of the plan.
            tile: a window of the grid.

        Returns:
            (h, w, 3) uint8 RGB of the tile's shape.
        """
        top, left, height, width = self.region(tile)
        pixels = slide.read(self.level, top, left, math.ceil(height), math.ceil(width))
        if pixels.shape[:2] == tile.shape:
            return pixels
        # as `transforms.geometry.resize_image`, from a part of the pixels that may end between two of them
        picture = Image.fromarray(pixels).resize(tile.shape[::-1], Image.Resampling.BILINEAR, (0, 0, width, height))
        return np.array(picture)


def make_plan(
    slide: Slide,
    metadata: Metadata,
    wanted: PredictionSettings,
    tissue: TissueMask,
    *,
    checkpoint: str,
    mask: str,
    mpp: float | None,
) -> SlidePlan:
    """Plan the prediction of a slide.

    Args:
        slide: an open slide.
        metadata: of the checkpoint.
        wanted: scale, limits and tiles.
        tissue: where to look.
        checkpoint: digest of the checkpoint.
        mask: as in `SlidePlan`.
        mpp: micrometers per pixel of level 0; None if the settings give the scale.

    Raises:
        InputError: if the scale cannot be found, the tiles are too small, or there is nothing to predict.
    """
    trained = Preprocessing.from_dict(metadata.preprocessing or {"scale": metadata.scale})
    scale = scale_on_slide(trained, metadata.scale, wanted, mpp)
    number = slide.level_for(1 / scale)
    level = slide.levels[number]
    tiling = Tiling(wanted.tile, wanted.tile_overlap, metadata.largest_nucleus, trained)
    side, overlap = tiling.side, tiling.overlap
    if side < 2 * overlap:
        raise InputError(
            f"tile is {side}; it accepts a whole number of at least {aligned(2 * overlap)} for a slide, whose windows "
            f"overlap by {overlap} network pixels: give larger tiles, or a smaller tile_overlap."
        )
    plan = SlidePlan(
        name=slide.path.name,
        slide=slide.digest,
        checkpoint=checkpoint,
        prediction={
            item.name: to_container(getattr(wanted, item.name))
            for item in fields(PredictionSettings)
            if item.name != "device"
        },
        mask=mask,
        mpp=mpp,
        level=number,
        downsample=level.downsample,
        size=slide.size,
        level_size=(level.height, level.width),
        side=side,
        overlap=overlap,
        step=max(round((side - overlap) / (scale * level.downsample)), 1),
        block_side=BLOCK_SIDE,
        windows=(),
        tissue_mm2=None if mpp is None else round(tissue.area(mpp), 4),
    )
    plan = replace(plan, windows=tuple(_covered(plan, tissue)))
    if not plan.windows:
        raise InputError(
            f"{slide.path} has no tissue that the mask finds: give mask=none to predict all of it, or regions=FILE."
        )
    return plan


def scale_on_slide(trained: Preprocessing, nominal: float, wanted: PredictionSettings, mpp: float | None) -> float:
    """Return network pixels per pixel of level 0.

    Args:
        trained: how training showed its images.
        nominal: network pixels per source pixel in training, the median over its images.
        wanted: the settings of the prediction; their `scale` is taken as it is.
        mpp: micrometers per pixel of level 0.

    Raises:
        InputError: if the settings give the length of a side or several scales, or neither they nor the micrometers per
            pixel of both slide and training give a scale.
    """
    if wanted.short is not None or wanted.tta.shorts:
        name = "tta.shorts" if wanted.short is None else f"short={wanted.short}"
        raise InputError(f"{name} sets the length of an image's side, which a slide has not: give scale or mpp.")
    if set(wanted.tta.scales) - {1}:
        raise InputError(
            f"tta.scales is {list(wanted.tta.scales)}; it accepts [] for a slide, whose windows are predicted at one "
            "scale."
        )
    if wanted.scale is not None:
        return wanted.scale
    if trained.mpp is None:
        raise InputError(
            "The checkpoint does not know the micrometers per pixel of its training images, so the scale of a slide is "
            f"unknown: give scale, network pixels per slide pixel ({nominal:.3g} where the slide has the resolution of "
            "the training images), or train with data.mpp."
        )
    if mpp is None:
        raise InputError(
            "The slide states neither micrometers per pixel nor the power of its objective: give mpp, such as mpp=0.25 "
            "for most scans at 40x and mpp=0.5 at 20x."
        )
    return nominal * mpp / trained.mpp


def _covered(plan: SlidePlan, tissue: TissueMask) -> list[tuple[int, int]]:
    covered = []
    for tile in plan.grid.tiles():
        top, left, height, width = (value * plan.downsample for value in plan.region(tile))
        if tissue.covers(int(top), int(left), math.ceil(top + height), math.ceil(left + width), LEAST_TISSUE):
            covered.append((tile.row, tile.column))
    return covered


def keep_plan(folder: Path, plan: SlidePlan) -> None:
    """Write `plan.json` into a work folder, or compare it with the one there.

    Raises:
        InputError: if the folder holds blocks of another plan, naming the differences.
    """
    path = folder / PLAN
    if not path.exists():
        write_json(path, plan.to_dict(), indent=None)
        return
    stored = read_json(path)
    before, now = stored if isinstance(stored, dict) else {}, plan.to_dict()
    flat_before, flat_now = ({**each, **each.get("prediction", {})} for each in (before, now))
    changed = [key for key in flat_now if key != "prediction" and flat_before.get(key) != flat_now[key]]
    if changed:
        raise InputError(
            f"{folder} holds blocks of another prediction: {some(changed, 8)} changed. Give another output, or remove "
            "that folder."
        )


def read_plan(folder: Path) -> SlidePlan:
    """Read the plan of a work folder.

    Raises:
        InputError: if it is missing or damaged.
    """
    return SlidePlan.from_dict(read_json(folder / PLAN), "plan")
