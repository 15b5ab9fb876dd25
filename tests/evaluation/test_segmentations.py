"""Polygons, run lengths and compressed run lengths of one mask become the same."""

import numpy as np
import pytest
from drawn_masks import encode, rectangle
from pycocotools import mask as coco_mask

from nucleiseg.rle import RLE
from nucleiseg.segmentations import to_rle


def test_three_forms_of_one_mask() -> None:
    expected = rectangle(2, 3, 7, 9)
    assert to_rle(dict(expected), 20, 30) == expected
    assert to_rle([[3, 2, 9, 2, 9, 7, 3, 7]], 20, 30) == expected
    assert to_rle({"size": [20, 30], "counts": runs(expected)}, 20, 30) == expected


def runs(rle: RLE) -> list[int]:
    flat = np.concatenate([[0], coco_mask.decode(rle).ravel(order="F")])
    borders = np.flatnonzero(np.diff(flat))
    return np.diff([0, *borders, len(flat) - 1]).tolist()


def test_polygons_of_one_instance_are_united() -> None:
    both = np.zeros((20, 30), bool)
    both[2:5, 2:5] = both[10:15, 20:28] = True
    assert to_rle([[2, 2, 5, 2, 5, 5, 2, 5], [20, 10, 28, 10, 28, 15, 20, 15]], 20, 30) == encode(both)


def test_sizes_and_runs_that_are_whole_numbers_written_as_floats() -> None:
    expected = rectangle(2, 3, 7, 9)
    counts = [float(run) for run in runs(expected)]
    assert to_rle({"size": [20.0, 30.0], "counts": counts}, 20, 30) == expected


def test_runs_that_an_empty_one_separates_are_joined() -> None:
    expected = rectangle(2, 3, 7, 9)
    first, second, *others = runs(expected)
    assert to_rle({"size": [20, 30], "counts": [first, 2, 0, second - 2, *others, 0]}, 20, 30) == expected
    assert to_rle({"size": [20, 30], "counts": [0, 0, 600]}, 20, 30) == rectangle(0, 0, 0, 0)
    assert to_rle({"size": [20, 30], "counts": [0, 600]}, 20, 30) == rectangle(0, 0, 20, 30)


@pytest.mark.parametrize("polygons", [[], [[]], [[48, 48]], [[1, 2, 3, 4]], [[], [5, 5]]])
def test_polygons_of_fewer_than_three_points_are_none(polygons: list[list[float]]) -> None:
    assert to_rle(polygons, 20, 30) is None


def test_a_degenerate_polygon_beside_a_sound_one_is_left_out() -> None:
    assert to_rle([[3, 2, 9, 2, 9, 7, 3, 7], [15, 15], [0, 0, 20, 10]], 20, 30) == rectangle(2, 3, 7, 9)


@pytest.mark.parametrize("polygon", [[5, 5, 5, 5, 5, 5], [1, 1, 10, 10, 5, 5], [1, 5, 20, 5, 8, 5], [4, 1, 4, 9, 4, 5]])
def test_polygons_without_an_area_have_no_pixel(polygon: list[float]) -> None:
    assert to_rle([polygon], 20, 30) == rectangle(0, 0, 0, 0)


def test_more_polygons_than_a_byte_counts() -> None:
    squares = [[x, y, x + 1, y, x + 1, y + 1, x, y + 1] for x in range(30) for y in range(20)]
    assert to_rle(squares[:400], 20, 30) == rectangle(0, 0, 20, 20)


@pytest.mark.parametrize(
    ("segmentation", "sentence"),
    [
        (None, "is None instead of a polygon list"),
        ({"counts": "0"}, r"has the size None instead of \[height, width\]"),
        ({"size": [30, 20], "counts": "0"}, r"is 20 x 30 pixels \(width x height\), the image 30 x 20"),
        ({"size": [20, 30], "counts": 7}, "has the counts 7 instead of a text or a list"),
        ({"size": [20, 30], "counts": [1, 2]}, "do not add up to 20 x 30 pixels"),
        ({"size": [20, 30], "counts": [601, -1]}, "do not add up to 20 x 30 pixels"),
        ({"size": [20, 30], "counts": [600, 0.5]}, "do not add up to 20 x 30 pixels"),
        ({"size": [20, 30], "counts": [600, True, -1]}, "do not add up to 20 x 30 pixels"),
        ({"size": [20, 30], "counts": [2**33, -(2**33), 600]}, "do not add up to 20 x 30 pixels"),
        ({"size": [20, True], "counts": "0"}, r"is True x 20 pixels \(width x height\), the image 30 x 20"),
        ({"size": [20, 30], "counts": "b'04'"}, r"Python's text of bytes .*counts\.decode\(\)"),
        ([[1, 2, 3, 4, 5]], r"has the polygon \[1, 2, 3, 4, 5\] instead of a list of points"),
        ([1, 2, 3, 4, 5, 6], "has the polygon 1 instead of a list of points"),
        ([[1, 2, 3, 4, 5, True]], "leaves the image of 30 x 20 pixels"),
        ([[1, 2, 3, 4, 5, 10**400]], "leaves the image of 30 x 20 pixels"),
        ([[1, 1, 2, 1, 2, 2]] * 2001, "has 2,001 polygons, more than the 2,000"),
        ([[0, 0, 29, 19] * 30_000], "has an outline of more than 1,000,000 pixels"),
        ([[1, 2, 3, 4, 5, float("nan")]], "leaves the image of 30 x 20 pixels"),
        ([[1, 2, 3, 4, 5e9, 6]], "leaves the image of 30 x 20 pixels"),
        ("x" * 100, r"is 'x+\.\.\. instead"),
    ],
)
def test_what_is_no_mask(segmentation: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        to_rle(segmentation, 20, 30)
