"""Outlines follow the masks; each line can be told from the others, on any background."""

import cv2
import numpy as np
import pytest

from nucleiseg.report.outline_drawing import CASING, LineStyle, draw_outlines, find_outlines
from nucleiseg.rle import Crop, compress, run_lengths


def encode(*masks: np.ndarray) -> list:
    return compress([run_lengths(Crop(0, 0, mask), *mask.shape) for mask in masks], *masks[0].shape)


def test_outlines_equal_those_of_the_whole_mask() -> None:
    generator = np.random.default_rng(0)
    masks = []
    for _ in range(20):
        mask = np.zeros((40, 60), np.uint8)
        centre = (int(generator.integers(60)), int(generator.integers(40)))
        cv2.ellipse(mask, centre, (int(generator.integers(1, 30)), int(generator.integers(1, 25))), 30, 0, 360, 1, -1)
        masks.append(mask > 0)
    masks.append(np.ones((40, 60), dtype=bool))  # one run through all columns
    two_parts = np.zeros((40, 60), dtype=bool)
    two_parts[3, 3] = two_parts[30:35, 50:] = True
    masks.append(two_parts)
    for mask, outline in zip(masks, find_outlines(encode(*masks)), strict=True):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        assert len(outline) == len(contours)
        assert {tuple(p) for c in outline for p in c} == {tuple(p) for c in contours for p in c[:, 0]}
    assert find_outlines([]) == []
    assert find_outlines(encode(np.zeros((4, 4), dtype=bool))) == [[]]


@pytest.mark.parametrize("background", [0, 255])
@pytest.mark.parametrize("pattern", ["solid", "dashed", "dotted"])
def test_a_line_is_rendered_on_its_casing(background: int, pattern: str) -> None:
    mask = np.zeros((60, 60), dtype=bool)
    mask[15:45, 15:45] = True
    picture = np.full((120, 120, 3), background, np.uint8)
    style = LineStyle((250, 120, 0), pattern, 2, 6, 10)  # type: ignore[arg-type]
    draw_outlines(picture, find_outlines(encode(mask)), style, 2.0)
    on_line = picture[30:32, 32:88].reshape(-1, 3).astype(int)  # the upper edge, of rows 15 to 15 in the image
    coloured = (abs(on_line - style.color) < 60).all(axis=1).mean()
    low, high = {"solid": (0.9, 1), "dashed": (0.3, 0.85), "dotted": (0.1, 0.7)}[pattern]
    assert low <= coloured <= high
    assert (abs(picture.astype(int) - CASING) < 12).all(axis=2).sum() > 100 or background == 0
    assert (picture[60, 60] == background).all(), "the inside stays as it is"


def test_a_nucleus_of_one_pixel_is_outlined() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, 4] = True
    for pattern in ("solid", "dashed", "dotted"):
        picture = np.zeros((9, 9, 3), np.uint8)
        draw_outlines(picture, find_outlines(encode(mask)), LineStyle((255, 255, 255), pattern, 2, 4), 1.0)  # type: ignore[arg-type]
        assert picture[3:6, 3:6].max() > 100
        assert picture[0, 0].max() == 0
