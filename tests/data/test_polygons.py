"""The even-odd rule: exact areas, holes, self-crossing outlines, subpixel vertices, clipping."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline

from nucleiseg.data.readers.polygons import fill_even_odd, union
from nucleiseg.rle import Crop


def whole(rings: list[list[tuple[float, float]]], height: int = 12, width: int = 14) -> np.ndarray:
    crop = fill_even_odd([np.array(ring, float) for ring in rings], height, width)
    mask = np.zeros((height, width), bool)
    if crop is not None:
        mask[crop.window] = crop.mask
    return mask


@given(st.lists(st.tuples(st.floats(-6, 20), st.floats(-6, 20)), min_size=3, max_size=9))
def test_each_pixel_whose_center_is_inside(points: list[tuple[float, float]]) -> None:
    """Against a count of the edges to the left of each center, point by point."""
    rows, columns = np.mgrid[:12, :14] + 0.5
    crossings = np.zeros((12, 14), int)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        spans = (y0 <= rows) & (rows < y1)
        x = x0 + (rows - y0) * ((x1 - x0) / (y1 - y0) if y1 > y0 else 0)
        crossings += spans & (x <= columns)
    np.testing.assert_array_equal(whole([points]), crossings % 2 == 1)


def test_a_convex_polygon_agrees_with_matplotlib() -> None:
    angles = np.linspace(0, 2 * np.pi, 30, endpoint=False) + 0.1
    points = np.stack([7.2 + 4.1 * np.cos(angles), 5.9 + 3.3 * np.sin(angles)], axis=1)
    rows, columns = np.mgrid[:12, :14] + 0.5
    inside = Outline(points).contains_points(np.stack([columns.ravel(), rows.ravel()], axis=1)).reshape(12, 14)
    np.testing.assert_array_equal(whole([[tuple(point) for point in points]]), inside)


def test_subpixel_vertices_count() -> None:
    assert whole([[(1.4, 1), (3, 1), (3, 2), (1.4, 2)]]).sum() == 2
    assert whole([[(1.6, 1), (3, 1), (3, 2), (1.6, 2)]]).sum() == 1


def test_holes_and_outlines_that_cross_themselves() -> None:
    ring = whole([[(1, 1), (9, 1), (9, 9), (1, 9)], [(3, 3), (7, 3), (7, 7), (3, 7)]])
    assert ring.sum() == 64 - 16
    bow_tie = whole([[(0.3, 0), (7.7, 8), (7.7, 0), (0.3, 8)]])
    assert bow_tie.any()
    np.testing.assert_array_equal(bow_tie[:8, :8], bow_tie[:8, 7::-1])


@pytest.mark.parametrize("ring", [[(1, 1), (5, 1)], [(1, 1), (5, 1), (9, 1)], [(30, 2), (40, 2), (40, 9)], [(1, 1)]])
def test_no_area_inside_is_none(ring: list[tuple[float, float]]) -> None:
    assert fill_even_odd([np.array(ring, float)], 12, 14) is None
    assert fill_even_odd([], 12, 14) is None


def test_the_union_of_parts() -> None:
    joined = union([Crop(1, 1, np.ones((2, 2), bool)), Crop(2, 5, np.ones((1, 1), bool))])
    assert (joined.row, joined.column, joined.mask.sum()) == (1, 1, 5)
    assert joined.mask.shape == (2, 5)
