"""Polygons, run lengths and compressed run lengths of one mask become the same."""

import numpy as np
import pytest
from drawn_masks import encode, rectangle
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.segmentations import to_rle
from nucleiseg.inference.box_masks import RLE


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


@pytest.mark.parametrize(
    ("segmentation", "sentence"),
    [
        (None, "is None instead of a polygon list"),
        ({"counts": "0"}, r"has the size None instead of \[height, width\]"),
        ({"size": [30, 20], "counts": "0"}, r"is 20 x 30 pixels \(width x height\), the image 30 x 20"),
        ({"size": [20, 30], "counts": 7}, "has the counts 7 instead of a text or a list"),
        ({"size": [20, 30], "counts": [1, 2]}, "do not add up to 20 x 30 pixels"),
        ({"size": [20, 30], "counts": [601, -1]}, "do not add up to 20 x 30 pixels"),
        ([], "has no polygon"),
        ([[1, 2, 3, 4]], r"has the polygon \[1, 2, 3, 4\] instead of three or more points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "leaves the image of 30 x 20 pixels"),
        ([[1, 2, 3, 4, 5e9, 6]], "leaves the image of 30 x 20 pixels"),
        ("x" * 100, r"is 'x+\.\.\. instead"),
    ],
)
def test_what_is_no_mask(segmentation: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        to_rle(segmentation, 20, 30)
