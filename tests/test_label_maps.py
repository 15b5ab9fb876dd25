"""Extents of instances against boxes and areas computed mask by mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucleiseg.label_maps import measure

shapes = st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 12))


def disjoint(layers: np.ndarray) -> np.ndarray:
    """Give every plane values of its own, as instances have: plane p holds p + 1, p + 1 + L, ..."""
    count = len(layers)
    offsets = np.arange(count).reshape(-1, 1, 1)
    return np.where(layers > 0, (layers - 1) * count + offsets + 1, 0).astype(layers.dtype)


def naive_extent(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, len(rows)]


@given(arrays(np.uint16, shapes, elements=st.integers(0, 6)))
def test_measure_agrees_with_every_mask(layers: np.ndarray) -> None:
    layers = disjoint(layers)
    values, boxes, areas = measure(layers)
    expected = [value for value in np.unique(layers) if value]
    assert values.tolist() == expected
    for value, box, area in zip(values, boxes, areas, strict=True):
        assert [*box, area] == naive_extent((layers == value).any(axis=0))


def test_measure_written_out() -> None:
    layers = np.array([[[0, 3, 3, 0, 7], [3, 3, 0, 0, 0]], [[9, 9, 9, 9, 9], [9, 0, 0, 0, 9]]], np.int32)
    values, boxes, areas = measure(layers)
    assert values.tolist() == [3, 7, 9]
    assert boxes.tolist() == [[0, 0, 3, 2], [4, 0, 5, 1], [0, 0, 5, 2]]
    assert areas.tolist() == [4, 1, 7]
    assert boxes.dtype == np.float32


def test_a_run_ends_with_its_row_and_its_plane() -> None:
    layers = np.array([[[0, 5], [5, 0]], [[0, 0], [0, 2]]], np.uint16)
    values, boxes, _ = measure(layers)
    assert values.tolist() == [2, 5]
    assert boxes.tolist() == [[1, 1, 2, 2], [0, 0, 2, 2]]


def test_planes_without_instances_have_no_extent() -> None:
    values, boxes, areas = measure(np.zeros((1, 3, 4), np.uint16))
    assert (values.shape, boxes.shape, areas.shape) == ((0,), (0, 4), (0,))
