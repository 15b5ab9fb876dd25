"""Sizes and resizing against detectron2's recorded numbers and against Pillow itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nucleiseg.transforms.geometry import crop_shape, resize_image, resize_layers, resize_scale, resized_shape

sides = st.integers(1, 90)


def random_planes(shape: tuple[int, ...], dtype: type = np.uint16) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 60000, shape).astype(dtype)


def test_resized_shape_agrees_with_the_recorded_rule(golden: Path) -> None:
    rows = json.loads((golden / "units/units.json").read_text())["resize_shapes"]
    assert len(rows) >= 10
    for height, width, short, long, *expected in rows:
        assert resized_shape(height, width, short, long) == tuple(expected)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1500), st.integers(0, 1500))
def test_resized_shape_keeps_the_rule(height: int, width: int, short: int, extra: int) -> None:
    long = short + extra
    shape = resized_shape(height, width, short, long)
    assert min(shape) >= 1
    assert max(shape) <= long
    assert max(shape) == long or min(shape) == short
    scale = resize_scale(height, width, short, long)
    assert abs(shape[0] - scale * height) <= 0.500001 or shape[0] == 1
    assert abs(shape[1] - scale * width) <= 0.500001 or shape[1] == 1


def test_crop_shape_takes_shares_and_pixels() -> None:
    assert crop_shape(1000, 1000, (0.5, 0.5)) == (500, 500)
    assert crop_shape(401, 77, (0.5, 0.25)) == (201, 19)  # 200.5 rounds up, 19.25 down
    assert crop_shape(100, 200, (64, 1.0)) == (64, 200)
    assert crop_shape(50, 40, (64, 64)) == (50, 40)  # larger than the image: the whole side
    assert crop_shape(3, 3, (0.1, 0.1)) == (1, 1)


def test_crop_shape_factor_multiplies_before_rounding() -> None:
    assert crop_shape(1000, 1000, (0.5, 0.5), 0.7) == (350, 350)
    assert crop_shape(1000, 1000, (101, 0.9), 1.3) == (131, 1000)


@given(sides, sides, sides, sides)
def test_resize_image_is_pillow_bilinear(height: int, width: int, new_height: int, new_width: int) -> None:
    image = random_planes((height, width, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_image(image, (new_height, new_width)), expected)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@given(sides, sides, sides, sides, st.integers(1, 6))
def test_resize_layers_is_pillow_nearest_on_every_plane(
    dtype: type, height: int, width: int, new_height: int, new_width: int, count: int
) -> None:
    planes = random_planes((count, height, width), dtype)
    resized = resize_layers(planes, (new_height, new_width))
    assert resized.dtype == dtype
    for plane, result in zip(planes, resized, strict=True):
        picture = Image.fromarray(plane.astype(np.int32))
        expected = np.asarray(picture.resize((new_width, new_height), Image.Resampling.NEAREST))
        np.testing.assert_array_equal(result, expected)


def test_resize_layers_at_the_sizes_of_the_recipe_is_pillow_nearest() -> None:
    planes = random_planes((1, 500, 500))
    expected = Image.fromarray(planes[0].astype(np.int32)).resize((608, 608), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(resize_layers(planes, (608, 608))[0], np.asarray(expected))


@pytest.mark.parametrize("count", [1, 5, 600])
def test_resize_layers_takes_views_and_any_number_of_planes(count: int) -> None:
    planes = random_planes((count, 9, 14))
    view = planes[:, 1:6, 3:12]
    np.testing.assert_array_equal(resize_layers(view, (8, 8)), resize_layers(view.copy(), (8, 8)))


def test_values_above_16_bits_survive() -> None:
    planes = np.array([[[0, 70_000], [2_000_000, 1]]], dtype=np.int32)
    assert set(np.unique(resize_layers(planes, (7, 5)))) == {0, 1, 70_000, 2_000_000}
