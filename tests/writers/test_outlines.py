"""Outlines: exact areas, valid polygons, and the same mask back."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from predicted_images import square_masks
from qupath_rules import check_geometry, rasterize
from shapely.geometry import shape as shapely_shape

from nucleiseg.writers.geojson import to_geometry
from nucleiseg.writers.outlines import ring_area, trace


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_a_pixel_is_a_square() -> None:
    assert [sorted(ring) for ring in trace(np.ones((1, 1), bool), row=3, column=5)[0]] == [
        [(5, 3), (5, 4), (6, 3), (6, 4)]
    ]


@pytest.mark.parametrize(
    ("rows", "polygons", "holes"),
    [
        (("#.", ".#"), 2, 0),  # touch at a corner: two polygons
        (("###", "#.#", "###"), 1, 1),
        (("####", "#.##", "##.#", "####"), 1, 2),  # two holes that touch at a corner
        (("###.", "#.#.", "##.#", ".###"), 1, 2),  # holes that touch each other and the outside at corners
        ((".##", "#.#", "###"), 1, 1),  # a hole that touches the outside at a corner
        (("#.#", "...", "#.#"), 4, 0),
        (("#####", "#...#", "#.#.#", "#...#", "#####"), 2, 1),  # an island in a hole
    ],
)
def test_parts_and_holes(rows: tuple[str, ...], polygons: int, holes: int) -> None:
    mask = mask_of(*rows)
    traced = trace(mask)
    assert (len(traced), sum(len(polygon) - 1 for polygon in traced)) == (polygons, holes)
    check_geometry(to_geometry(traced))


@settings(max_examples=80, deadline=None)
@given(masks=square_masks())
def test_any_mask_gives_valid_polygons_of_its_area_that_give_it_back(masks: list[np.ndarray]) -> None:
    for mask in (mask for mask in masks if mask.any()):
        traced = trace(mask, row=2, column=1)
        for shell, *holes in traced:
            assert ring_area(shell) > 0
            assert all(ring_area(hole) < 0 for hole in holes)
        assert sum(ring_area(ring) for polygon in traced for ring in polygon) == mask.sum()
        geometry = json.loads(json.dumps(to_geometry(traced)))
        assert check_geometry(geometry).area == mask.sum()
        back = rasterize(geometry, mask.shape[0] + 2, mask.shape[1] + 1)
        np.testing.assert_array_equal(back[2:, 1:], mask)
        assert back[:2].sum() == back[:, :1].sum() == 0


def test_corners_alone_are_points() -> None:
    (polygon,) = trace(np.ones((40, 60), bool))
    assert len(polygon[0]) == 4
    assert shapely_shape(to_geometry([polygon])).bounds == (0, 0, 60, 40)
