"""What an overlay changes in the picture, and what it leaves alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nucleiseg.structures import Prediction
from nucleiseg.writers import overlay
from nucleiseg.writers.overlay import COLORS, draw_instances, side_by_side, write_overlay


def make_prediction(boxes: list[list[float]], size: tuple[int, int]) -> Prediction:
    count = len(boxes)
    return Prediction(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(count, 4),
        scores=torch.linspace(0.9, 0.3, count),
        labels=torch.ones(count, dtype=torch.int64),
        masks=torch.ones(count, 14, 14),
        size=size,
    )


IMAGE = np.full((60, 80, 3), 100, dtype=np.uint8)
PREDICTION = make_prediction([[10, 10, 30, 30], [50, 20, 70, 50]], (60, 80))


def test_outline_fill_and_background() -> None:
    drawn = draw_instances(IMAGE, PREDICTION)
    assert drawn.dtype == np.uint8
    assert (IMAGE == 100).all()  # the original is untouched
    distances = np.abs(COLORS.astype(int) - drawn[20, 10]).max(axis=1)  # to the left edge of the first, antialiased
    assert distances.min() <= 40
    inside = drawn[20, 20].astype(int)
    assert (inside != 100).any()
    assert np.abs(inside - 100).max() <= 0.2 * 155
    np.testing.assert_array_equal(drawn[:8], IMAGE[:8])


def test_classes_have_their_colors_and_a_legend() -> None:
    two = replace(PREDICTION, labels=torch.tensor([2, 1]))
    red, blue = (255, 0, 0), (0, 0, 255)
    drawn = draw_instances(IMAGE, two, class_colors=[red, blue]).astype(int)
    assert drawn[20, 20, 2] > 100 > drawn[20, 20, 0]  # the fill of the first, of class 2
    assert drawn[35, 60, 0] > 100 > drawn[35, 60, 2]
    plain, sheet = side_by_side(IMAGE, two), side_by_side(IMAGE, two, classes=[("a: 1", red), ("b: 1", blue)])
    assert sheet.shape[0] > plain.shape[0]
    below = sheet[plain.shape[0] :].reshape(-1, 3)
    assert (below == red).all(axis=1).any()
    assert (below == blue).all(axis=1).any()


def test_threshold_leaves_the_unsure_out() -> None:
    drawn = draw_instances(IMAGE, PREDICTION, threshold=0.5)
    np.testing.assert_array_equal(drawn[:, 45:], IMAGE[:, 45:])
    assert (drawn[:, :45] != IMAGE[:, :45]).any()


def test_nothing_found_changes_nothing() -> None:
    np.testing.assert_array_equal(draw_instances(IMAGE, PREDICTION[:0]), IMAGE)


def test_an_enlarged_image_gets_its_outlines_in_place() -> None:
    drawn = draw_instances(IMAGE.repeat(4, axis=0).repeat(4, axis=1), PREDICTION)
    changed = np.argwhere((drawn != 100).any(axis=2))
    assert np.abs(changed.min(axis=0) - 40).max() <= 2
    assert np.abs(changed.max(axis=0) + 1 - (200, 280)).max() <= 2


def test_touching_instances_differ_in_color() -> None:
    boxes = np.array([[10 * x, 10 * y, 10 * x + 10, 10 * y + 10] for y in range(8) for x in range(8)])
    colors = np.reshape(overlay._colors_unlike_neighbors(boxes, (80, 80)), (8, 8))
    assert (colors[:, 1:] != colors[:, :-1]).all()
    assert (colors[1:] != colors[:-1]).all()
    assert set(colors.ravel()) == set(range(len(COLORS)))


@pytest.mark.parametrize(
    ("shape", "panel"),
    [((90, 45), (900, 450)), ((900, 800), (900, 800)), ((3300, 1100), (3000, 1000)), ((1, 1), (900, 900))],
)
def test_image_beside_prediction_at_a_size_for_screens(shape: tuple[int, int], panel: tuple[int, int]) -> None:
    sheet = side_by_side(np.full((*shape, 3), 60, dtype=np.uint8), make_prediction([], shape), title="a name")
    assert sheet.shape[1] == 2 * panel[1] + 3 * overlay.GUTTER
    assert ((sheet == 60).all(axis=2).sum(axis=1) == 2 * panel[1]).sum() == panel[0]


def test_caption_fits_its_panel_however_long_the_name() -> None:
    sheet = side_by_side(np.full((900, 90, 3), 255, dtype=np.uint8), make_prediction([], (900, 90)), title="n" * 200)
    right = 2 * overlay.GUTTER + 90
    np.testing.assert_array_equal(sheet[:, overlay.GUTTER + 90 : right], 255)


def test_file_is_the_picture(tmp_path: Path) -> None:
    write_overlay(tmp_path / "overlays" / "ä.png", IMAGE, PREDICTION, 0.5, "ä")
    with Image.open(tmp_path / "overlays" / "ä.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), side_by_side(IMAGE, PREDICTION, 0.5, "ä"))
