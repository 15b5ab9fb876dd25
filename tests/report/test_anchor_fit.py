"""The best anchor against a search over the whole grid."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from nucleiseg.report.anchor_fit import AnchorLevel, best_anchor_iou


def cells(sizes: list[float], ratios: tuple[float, ...] = (0.5, 1.0, 2.0)) -> np.ndarray:
    half = [(np.sqrt(size**2 / ratio) / 2, np.sqrt(size**2 * ratio) / 2) for size in sizes for ratio in ratios]
    return np.array([[-x, -y, x, y] for x, y in half])


def whole_grid(level: AnchorLevel, reach: int = 200) -> np.ndarray:
    positions = np.arange(0, reach, level.stride)
    y, x = np.meshgrid(positions, positions, indexing="ij")
    corners = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4)
    return (corners + level.cell_anchors).reshape(-1, 4)


@given(st.integers(0, 1000), st.sampled_from([4, 8, 16]))
def test_equals_the_search_over_all_anchors(seed: int, stride: int) -> None:
    rng = np.random.default_rng(seed)
    corner, sides = rng.uniform(20, 100, (15, 2)), rng.uniform(1, 60, (15, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1)
    levels = [AnchorLevel(stride, cells([8, 20])), AnchorLevel(2 * stride, cells([40]))]
    anchors = np.concatenate([whole_grid(level) for level in levels])
    expected = box_iou(torch.from_numpy(boxes), torch.from_numpy(anchors)).max(dim=1).values
    np.testing.assert_allclose(best_anchor_iou(boxes, levels), expected.numpy(), atol=1e-12)


def test_a_box_that_is_an_anchor_has_iou_one() -> None:
    level = AnchorLevel(16, cells([32.0]))
    boxes = level.cell_anchors + np.array([48, 64, 48, 64])
    np.testing.assert_allclose(best_anchor_iou(boxes, [level]), 1.0)


def test_between_two_cells_written_out() -> None:
    """A 16 x 16 box halfway between cells 16 apart overlaps each neighbour by 8 x 16: 128 / 384."""
    level = AnchorLevel(16, cells([16.0], ratios=(1.0,)))
    box = np.array([[16.0, 8.0, 32.0, 24.0]])  # centre (24, 16)
    assert best_anchor_iou(box, [level])[0] == pytest.approx(1 / 3)


def test_no_boxes_and_sizes() -> None:
    level = AnchorLevel(4, cells([8.0, 16.0]))
    assert best_anchor_iou(np.zeros((0, 4)), [level]).shape == (0,)
    np.testing.assert_allclose(level.sizes, [8, 8, 8, 16, 16, 16])
