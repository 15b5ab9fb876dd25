"""Layers: packing is lossless, planes hold what they promise, and boxes equal those of the separate masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.data import layers as layers_module
from nucleiseg.data.layers import bounding_window, pack, unpack

SHAPE = (11, 13)


@st.composite
def overlapping_masks(draw: st.DrawFn) -> list[np.ndarray]:
    """Blobs, single pixels and scattered components that overlap one another freely."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = []
    for _ in range(draw(st.integers(0, 12))):
        density = generator.choice([0.02, 0.3, 1.0])
        mask = np.zeros(SHAPE, bool)
        row, column = generator.integers(0, SHAPE[0]), generator.integers(0, SHAPE[1])
        window = mask[row : row + generator.integers(1, 8), column : column + generator.integers(1, 8)]
        window[:] = generator.random(window.shape) < density
        mask[row, column] = True
        masks.append(mask)
    return masks


@settings(max_examples=60, deadline=None)
@given(overlapping_masks())
def test_unpack_is_the_inverse_of_pack(masks: list[np.ndarray]) -> None:
    layers, layer_index = pack(masks, SHAPE)
    restored = list(unpack(layers, layer_index))
    assert len(restored) == len(masks)
    for mask, again in zip(masks, restored, strict=True):
        np.testing.assert_array_equal(again, mask)
        assert again.dtype == bool


@settings(max_examples=60, deadline=None)
@given(overlapping_masks())
def test_planes_hold_each_instance_once_and_nothing_else(masks: list[np.ndarray]) -> None:
    layers, layer_index = pack(masks, SHAPE)
    assert layers.shape[1:] == SHAPE
    assert layer_index.dtype == np.int64
    assert int((layers > 0).sum()) == sum(int(mask.sum()) for mask in masks)  # disjoint on a plane: no pixel lost
    for plane, values in enumerate(layers):
        expected = {int(index) + 1 for index in np.flatnonzero(layer_index == plane)}
        assert set(np.unique(values).tolist()) - {0} == expected


@settings(max_examples=60, deadline=None)
@given(overlapping_masks())
def test_each_instance_lies_on_the_first_plane_that_is_free(masks: list[np.ndarray]) -> None:
    """The greedy rule, by a naive implementation on lists of masks; no plane is empty."""
    planes: list[np.ndarray] = []
    expected = []
    for mask in masks:
        plane = next((number for number, taken in enumerate(planes) if not (taken & mask).any()), len(planes))
        planes = planes if plane < len(planes) else [*planes, np.zeros(SHAPE, bool)]
        planes[plane] = planes[plane] | mask
        expected.append(plane)
    layers, layer_index = pack(masks, SHAPE)
    assert layer_index.tolist() == expected
    assert len(layers) == max(len(planes), 1)


def test_masks_that_touch_but_do_not_overlap_need_one_plane() -> None:
    numbers = np.arange(12 * 9).reshape(12, 9) // 4
    layers, layer_index = pack(numbers == number for number in range(27))
    np.testing.assert_array_equal(layers, numbers[None] + 1)
    assert not layer_index.any()


def test_masks_that_all_overlap_need_a_plane_each() -> None:
    layers, layer_index = pack([np.ones((2, 2), bool)] * 5)
    assert layer_index.tolist() == [0, 1, 2, 3, 4]
    assert layers[:, 0, 0].tolist() == [1, 2, 3, 4, 5]


def test_no_instances_are_one_plane_of_background() -> None:
    layers, layer_index = pack([], (3, 4))
    assert layers.shape == (1, 3, 4)
    assert not layers.any()
    assert len(layer_index) == 0
    assert list(unpack(layers, layer_index)) == []


def test_values_beyond_uint16_widen_the_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert layers_module.LARGEST_UINT16 == 65535
    monkeypatch.setattr(layers_module, "LARGEST_UINT16", 3)
    pixels = [np.eye(1, 4, index, dtype=bool) for index in range(4)]
    assert pack(pixels[:3])[0].dtype == np.uint16
    wide, layer_index = pack(pixels)
    assert wide.dtype == np.int32
    assert wide.tolist() == [[[1, 2, 3, 4]]]
    np.testing.assert_array_equal(list(unpack(wide, layer_index)), pixels)


def test_what_is_no_set_of_masks_is_refused() -> None:
    with pytest.raises(ValueError, match="mask 2 has no pixel"):
        pack([np.ones((2, 2), bool), np.zeros((2, 2), bool)])
    with pytest.raises(ValueError, match="mask 2 is"):
        pack([np.ones((2, 2), bool), np.ones((2, 3), bool)])
    with pytest.raises(ValueError, match="shape"):
        pack([])


def test_bounding_window_is_the_smallest() -> None:
    mask = np.zeros((6, 7), bool)
    assert bounding_window(mask) is None
    mask[2, 5] = mask[4, 1] = True
    assert bounding_window(mask) == (slice(2, 5), slice(1, 6))
