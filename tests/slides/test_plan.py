"""The plan: scale and level by micrometers per pixel, windows at whole pixels, sentences for what is missing."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted import CHECKPOINT
from test_readers import HEIGHT, PIXELS, WIDTH, write_levels

from nucleiseg.errors import InputError
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tta import TTASettings
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.slides.plan import SlidePlan, keep_plan, make_plan, read_plan
from nucleiseg.slides.slide import Slide
from nucleiseg.slides.tiff_slide import TiffSlide
from nucleiseg.slides.tissue import TissueMask, whole_slide


def plan_of(slide: Slide, tissue: TissueMask | None = None, mpp: float | None = 0.25, **settings: object) -> SlidePlan:
    """Plan a slide for a training with 1.5 network pixels per pixel of 0.5 micrometers."""
    metadata = Metadata(
        model={}, scale=1.5, preprocessing={"short": 600, "scales": [1.2, 1.8], "mpp": 0.5}, largest_nucleus=30.0
    )
    wanted = PredictionSettings.from_dict({"tile": 256, **settings})
    tissue = tissue or whole_slide(slide, mpp)
    return make_plan(slide, metadata, wanted, tissue, checkpoint=CHECKPOINT, mask="none", mpp=mpp)


@pytest.mark.parametrize(
    ("mpp", "settings", "scale", "downsample"),
    [
        (0.25, {}, 0.75, 1),
        (0.5, {}, 1.5, 1),
        (0.08, {}, 0.24, 4),
        (0.25, {"scale": 0.1}, 0.1, 4),
        (None, {"scale": 0.05}, 0.05, 16),
    ],
)
def test_scale_and_level(
    tmp_path: Path, mpp: float | None, settings: dict[str, Any], scale: float, downsample: int
) -> None:
    with closing(TiffSlide(write_levels(tmp_path / "a.tif"))) as slide:
        plan = plan_of(slide, mpp=mpp, **settings)
    assert plan.downsample == downsample
    assert plan.scale / plan.downsample == pytest.approx(scale, rel=0.5 / plan.step)
    assert len(plan.windows) == len(plan.grid) == sum(map(len, plan.blocks))


def test_windows_begin_at_whole_pixels_and_share_their_pixels(tmp_path: Path) -> None:
    with closing(TiffSlide(write_levels(tmp_path / "a.tif"))) as slide:
        plan = plan_of(slide)
        whole = np.zeros((plan.grid.height, plan.grid.width, 3), np.uint8)
        seen = np.zeros(whole.shape[:2], bool)
        for tile in plan.tiles.values():
            top, left, bottom, right = tile.window
            pixels = plan.read(slide, tile)
            assert pixels.shape == (bottom - top, right - left, 3)
            # Pillow's filter reaches two pixels beyond a border, where another window has pixels
            inner = (slice(2, -2), slice(2, -2))
            shared = seen[top:bottom, left:right][inner]
            difference = np.abs(whole[top:bottom, left:right][inner][shared].astype(int) - pixels[inner][shared])
            assert difference.max(initial=0) <= 1  # its weights are rounded from the window's origin on
            whole[top:bottom, left:right][inner], seen[top:bottom, left:right][inner] = pixels[inner], True
        assert seen[2:-2, 2:-2].all()
    height, width = plan.grid.height, plan.grid.width
    part = (0, 0, width / plan.scale, height / plan.scale)  # the last pixels are cut off, so that all have one scale
    resized = np.array(Image.fromarray(PIXELS).resize((width, height), Image.Resampling.BILINEAR, part))
    assert np.abs(whole[2:-2, 2:-2].astype(int) - resized[2:-2, 2:-2]).max() <= 1


def test_windows_without_tissue_are_left_out(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT // 16, WIDTH // 16), bool)
    mask[20:26, 30:36] = True  # rows 320 to 416, columns 480 to 576
    with closing(TiffSlide(write_levels(tmp_path / "a.tif"))) as slide:
        plan = plan_of(slide, TissueMask(mask, 16))
        assert 0 < len(plan.windows) < len(plan.grid)
        for tile in plan.grid.tiles():
            top, left, height, width = plan.region(tile)
            rows = max(min(top + height, 416) - max(top, 320), 0)
            columns = max(min(left + width, 576) - max(left, 480), 0)
            share = rows * columns / (height * width)
            assert ((tile.row, tile.column) in plan.windows) or share < 0.02
            assert ((tile.row, tile.column) not in plan.windows) or share > 0
        with pytest.raises(InputError, match="no tissue that the mask finds: give mask=none"):
            plan_of(slide, TissueMask(~mask & mask, 16))


def test_what_is_missing_for_a_scale_is_named(tmp_path: Path) -> None:
    with closing(TiffSlide(write_levels(tmp_path / "a.tif"))) as slide:
        with pytest.raises(InputError, match=r"states neither .* give mpp, such as mpp=0\.25"):
            plan_of(slide, mpp=None)
        with pytest.raises(InputError, match="short=600 sets the length"):
            plan_of(slide, short=600)
        with pytest.raises(InputError, match=r"tta\.shorts sets the length"):
            plan_of(slide, tta=TTASettings(shorts=(1500,)))
        with pytest.raises(InputError, match=r"tta\.scales is \[1\.0, 2\.0\]; it accepts \[\] for a slide"):
            plan_of(slide, tta=TTASettings(scales=(1.0, 2.0)))
        with pytest.raises(InputError, match="tile is 320; it accepts a whole number of at least 512 for a slide"):
            plan_of(slide, tile=320, tile_overlap=200)
        unknown = Metadata(model={}, scale=1.5, preprocessing={"short": 600})
        wanted = PredictionSettings(tile=256)
        with pytest.raises(InputError, match=r"give scale, network pixels per slide pixel \(1\.5 where"):
            make_plan(slide, unknown, wanted, whole_slide(slide, 0.25), checkpoint="", mask="none", mpp=0.25)


def test_a_plan_is_kept_and_compared(tmp_path: Path) -> None:
    with closing(TiffSlide(write_levels(tmp_path / "a.tif"))) as slide:
        plan = plan_of(slide)
    keep_plan(tmp_path, plan)
    keep_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    with pytest.raises(InputError, match="blocks of another prediction: side changed"):
        keep_plan(tmp_path, replace(plan, side=512))
    other = replace(plan, prediction={**plan.prediction, "nms": 0.3})
    with pytest.raises(InputError, match="blocks of another prediction: nms changed"):
        keep_plan(tmp_path, other)
    (tmp_path / "plan.json").write_text('{"side": 1}')
    with pytest.raises(InputError, match=r"plan\.name is missing"):
        read_plan(tmp_path)
