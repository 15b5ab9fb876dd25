"""Tissue on a coarse grid: what is kept, filled, dropped and reported."""

from pathlib import Path

import numpy as np
import pytest

from nucleiseg.errors import InputError
from nucleiseg.slides.regions import Regions
from nucleiseg.slides.slide import Level, Slide
from nucleiseg.slides.tissue import TissueMask, find_tissue, read_thumbnail, whole_slide

PINK, GLASS, GREEN = (225, 150, 200), (243, 243, 245), (30, 180, 60)


class Painted(Slide):
    """A slide in memory, with one level."""

    def __init__(self, pixels: np.ndarray, downsample: int = 1) -> None:
        super().__init__(Path("painted.tif"))
        self.pixels = pixels
        height, width = pixels.shape[:2]
        self.levels = (Level(downsample, height, width),)
        self.resolution = None

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        region = np.full((height, width, 3), 255, np.uint8)
        part = self.pixels[top : top + height, left : left + width]
        region[: part.shape[0], : part.shape[1]] = part
        return region

    def close(self) -> None:
        """Nothing to close."""


def glass(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(-2, 3, (height, width, 3))
    return (np.array(GLASS) + noise).astype(np.uint8)


def test_holes_and_gaps_are_filled_and_dust_is_dropped() -> None:
    pixels = glass(400, 500)
    pixels[50:200, 50:250] = PINK
    pixels[100:140, 100:140] = GLASS  # a hole
    pixels[60:190, 150:152] = GLASS  # a gap of 16 µm
    pixels[300:310, 300:310] = PINK  # 0.0064 mm²
    tissue = find_tissue(Painted(pixels), mpp=8.0)
    expected = np.zeros((400, 500), bool)
    expected[50:200, 50:250] = True
    assert tissue.cell == 1
    assert (tissue.mask == expected).all()
    assert tissue.area(8.0) == pytest.approx(150 * 200 * 0.008**2)
    assert tissue.pen == 0


def test_the_share_of_pen_is_reported() -> None:
    pixels = glass(300, 300)
    pixels[50:250, 50:250] = PINK
    pixels[50:100, 50:250] = GREEN
    assert find_tissue(Painted(pixels), mpp=8.0).pen == pytest.approx(0.25, abs=0.02)


def test_glass_alone_has_no_tissue() -> None:
    assert not find_tissue(Painted(glass(300, 300)), mpp=8.0).mask.any()


@pytest.mark.parametrize("shape", [(4100, 2050), (333, 2049)])
def test_a_slide_is_averaged_part_by_part(shape: tuple[int, int]) -> None:
    rows, columns = np.indices(shape)
    pixels = np.repeat(((rows // 4 + columns // 4) % 251).astype(np.uint8)[..., None], 3, axis=2)
    cells, cell = read_thumbnail(Painted(pixels), 4.2)
    assert cell == 4
    height, width = shape[0] // 4, shape[1] // 4
    assert cells.shape[:2] == (-(-shape[0] // 4), -(-shape[1] // 4))
    assert (cells[:height, :width, 0] == pixels[: height * 4 : 4, : width * 4 : 4, 0]).all()


def test_which_windows_have_tissue() -> None:
    mask = np.zeros((10, 10), bool)
    mask[4, 4] = True
    tissue = TissueMask(mask, cell=32)
    assert tissue.covers(100, 100, 200, 200, share=0.01)
    assert tissue.covers(130, 130, 131, 131, share=1.0)
    assert not tissue.covers(0, 0, 128, 128, share=0.0)
    assert not tissue.covers(0, 0, 320, 320, share=0.02)
    assert whole_slide(Painted(glass(64, 70)), None).mask.shape == (2, 3)


def test_regions_have_holes_and_are_found_by_center(tmp_path: Path) -> None:
    path = tmp_path / "regions.geojson"
    path.write_text(
        '{"type": "MultiPolygon", "coordinates": [[[[0, 0], [400, 0], [400, 400], [0, 400]],'
        "[[96, 96], [352, 96], [352, 352], [96, 352]]], [[[600, 0], [601, 0], [601, 1]]]]}"
    )
    regions = Regions.read(path)
    inside = [(50, 50), (399, 10), (600.9, 0.2)]
    outside = [(200, 200), (500, 10), (600.2, 0.9)]
    assert all(regions.contains(x, y) for x, y in inside)
    assert not any(regions.contains(x, y) for x, y in outside)
    tissue = regions.mask((640, 640), mpp=0.25)
    assert tissue.cell == 32
    assert tissue.mask[1, 1]
    assert tissue.mask[0, 18]
    assert not tissue.mask[6, 6]
    assert not tissue.mask[15, 15]


def test_a_file_without_areas_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "regions.geojson"
    path.write_text('{"type": "Point", "coordinates": [1, 2]}')
    with pytest.raises(InputError, match="has no polygon"):
        Regions.read(path)
    path.write_text("[1]")
    with pytest.raises(InputError, match="is not GeoJSON"):
        Regions.read(path)
