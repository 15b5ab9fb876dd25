"""Shapes of masks whose measures are known."""

from math import pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from predicted_images import square_masks
from shapely import union_all
from shapely.geometry import box

from nucleiseg.writers.shape import measure_shape


def ellipse(a: float, b: float, angle: float = 0.0, side: int = 81) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / a) ** 2 + (across / b) ** 2 <= 1


def crofton_perimeter(mask: np.ndarray) -> float:
    """Return pi / 8 times the crossings of horizontal, vertical and diagonal lines, times the lines' distance."""
    padded = np.pad(mask, 1)
    pairs = [(padded[1:], padded[:-1]), (padded[:, 1:], padded[:, :-1])]
    diagonals = [(padded[1:, 1:], padded[:-1, :-1]), (padded[1:, :-1], padded[:-1, 1:])]
    straight, diagonal = (sum(np.count_nonzero(a != b) for a, b in each) for each in (pairs, diagonals))
    return pi / 8 * (straight + diagonal / sqrt(2))


@pytest.mark.parametrize("radius", [3, 5, 9.5, 20, 37])
def test_a_disc(radius: float) -> None:
    shape = measure_shape(ellipse(radius, radius))
    assert shape.area == pytest.approx(pi * radius**2, rel=0.06)
    assert shape.perimeter == pytest.approx(2 * pi * radius, rel=0.05 if radius > 9 else 0.12)
    assert shape.circularity > (0.9 if radius > 9 else 0.8)
    assert shape.eccentricity < 0.1
    assert (0.9 if radius > 9 else 0.75) < shape.solidity <= 1
    assert (shape.x, shape.y) == (40.5, 40.5)


@pytest.mark.parametrize("angle", [0, 0.4, pi / 4, 1.2])
def test_an_ellipse_at_any_angle(angle: float) -> None:
    shape = measure_shape(ellipse(30, 15, angle))
    assert shape.eccentricity == pytest.approx(sqrt(3) / 2, abs=0.01)
    ramanujan = pi * (3 * 45 - sqrt(105 * 75))  # of the ellipse's circumference
    assert shape.perimeter == pytest.approx(ramanujan, rel=0.04)
    assert shape.solidity > 0.95


def test_a_pixel_and_a_line() -> None:
    pixel = measure_shape(np.ones((1, 1), bool))
    assert (pixel.area, pixel.circularity, pixel.eccentricity, pixel.solidity) == (1, 1, 0, 1)
    assert (pixel.x, pixel.y) == (0.5, 0.5)
    line = measure_shape(np.ones((1, 50), bool))
    assert line.eccentricity > 0.999
    assert line.circularity < 0.1
    assert line.solidity == 1


def test_a_cross_is_not_solid() -> None:
    cross = np.zeros((9, 9), bool)
    cross[4], cross[:, 4] = True, True
    assert measure_shape(cross).solidity == pytest.approx(17 / (81 - 4 * 8))  # four triangles of 4 x 4 are missing


def test_the_eccentricity_is_that_of_the_eigenvalues() -> None:
    mask = np.random.default_rng(0).random((12, 9)) < 0.4
    rows, columns = mask.nonzero()
    minor, major = np.linalg.eigvalsh(np.cov(rows, columns, bias=True) + np.eye(2) / 12)
    assert measure_shape(mask).eccentricity == pytest.approx(sqrt(1 - minor / major))


@settings(max_examples=30, deadline=None)
@given(masks=square_masks())
def test_the_hull_is_that_of_the_pixels_squares(masks: list[np.ndarray]) -> None:
    for mask in (mask for mask in masks if mask.any()):
        squares = union_all([box(x, y, x + 1, y + 1) for y, x in np.argwhere(mask)])
        shape = measure_shape(mask)
        assert shape.solidity == pytest.approx(mask.sum() / squares.convex_hull.area)
        assert shape.perimeter == pytest.approx(crofton_perimeter(mask))
        assert shape.perimeter == pytest.approx(measure_shape(mask.T.copy()).perimeter)
        assert 0 < shape.circularity <= 1
