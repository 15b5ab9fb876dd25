"""RoIAlign over a pyramid: detectron2's numbers, torchvision's own, and what mathematics says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

from nucleiseg.models.numerics import DETECTRON2, TORCHVISION, Numerics
from nucleiseg.models.roi_pool import RoIPool, assign_levels

NAMES = ("0", "1", "2", "3")
STRIDES = (4, 8, 16, 32)


def pyramid(images: int = 1, side: int = 128, channels: int = 2) -> dict[str, torch.Tensor]:
    return {name: torch.randn(images, channels, side >> i, side >> i) for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def units(golden: Path) -> dict[str, torch.Tensor]:
    with np.load(golden / "units" / "units.npz") as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive if name.startswith("pool_")}


def test_levels_are_detectron2s(units: dict[str, torch.Tensor]) -> None:
    assert torch.equal(assign_levels(units["pool_boxes"], 2, 5), units["pool_levels"])


@pytest.mark.parametrize(("size", "count"), [(7, 40), (14, 8)])
def test_pooled_values_are_detectron2s(units: dict[str, torch.Tensor], size: int, count: int) -> None:
    features = {name: units[f"pool_p{level}"].float()[None] for level, name in enumerate(NAMES, 2)}
    pool = RoIPool(feature_names=NAMES, strides=STRIDES, output_size=size)
    pooled = pool(features, [units["pool_boxes"][:count]])
    torch.testing.assert_close(pooled, units[f"pool_out{size}"], rtol=1e-5, atol=1e-5)


def test_the_level_changes_where_a_side_doubles() -> None:
    sides = torch.tensor([1.0, 111.0, 113.0, 223.0, 225.0, 447.0, 449.0, 5000.0])
    boxes = torch.stack([torch.zeros(8), torch.zeros(8), sides, sides], dim=1)
    assert assign_levels(boxes, 2, 5).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("numerics", [DETECTRON2, TORCHVISION])
def test_an_empty_box_has_a_level(numerics: Numerics) -> None:
    assert assign_levels(torch.tensor([[3.0, 3.0, 3.0, 9.0]]), 2, 5, numerics).tolist() == [0]


def test_torchvisions_numerics_are_its_own_pooler() -> None:
    features = pyramid(images=2)
    boxes = [torch.rand(20, 4) * 250 for _ in range(2)]
    for image in boxes:
        image[:, 2:] += image[:, :2]
    expected = MultiScaleRoIAlign(list(NAMES), output_size=7, sampling_ratio=2)(features, boxes, [(512, 512)] * 2)
    pool = RoIPool(feature_names=NAMES, strides=STRIDES, output_size=7, numerics=TORCHVISION)
    torch.testing.assert_close(pool(features, boxes), expected, rtol=1e-5, atol=1e-5)


def test_a_linear_ramp_is_reproduced_at_the_bins_centers() -> None:
    # Bilinear interpolation is exact on x, so a bin's mean is the coordinate of its center.
    ramp = torch.arange(64.0).expand(1, 1, 64, 64)
    box = torch.tensor([[40.0, 80.0, 152.0, 192.0]])
    pooled = RoIPool(feature_names=["0"], strides=[4], output_size=7)({"0": ramp}, [box])
    centers = 40 / 4 - 0.5 + (torch.arange(7) + 0.5) * (152 - 40) / 4 / 7
    torch.testing.assert_close(pooled[0, 0], centers.expand(7, 7))


def test_every_roi_comes_from_its_own_image_and_in_its_own_order() -> None:
    features = {"0": torch.stack([torch.full((1, 8, 8), 1.0), torch.full((1, 8, 8), 2.0)])}
    boxes = [torch.tensor([[0.0, 0, 64, 64]] * 2), torch.tensor([[0.0, 0, 64, 64]])]
    pooled = RoIPool(feature_names=["0"], strides=[16], output_size=2)(features, boxes)
    assert pooled.mean(dim=(1, 2, 3)).tolist() == [1.0, 1.0, 2.0]


def test_no_rois_and_the_gradient_of_some() -> None:
    features = {name: maps.requires_grad_() for name, maps in pyramid().items()}
    pool = RoIPool(feature_names=NAMES, strides=STRIDES, output_size=7)
    assert pool(features, [torch.zeros(0, 4)]).shape == (0, 2, 7, 7)
    pool(features, [torch.tensor([[0.0, 0, 20, 20]])]).sum().backward()
    assert features["0"].grad.abs().sum() > 0


def naive_roi_pool(feature_map: torch.Tensor, box: list[int], size: int) -> torch.Tensor:
    """Fast R-CNN's RoIPool of one box in cells of a (C, h, w) map, bin by bin; borders are whole cells."""
    left, top, right, bottom = box
    height, width = (bottom - top + 1) / size, (right - left + 1) / size
    pooled = torch.zeros(len(feature_map), size, size)
    for row in range(size):
        for column in range(size):
            rows = slice(top + int(row * height), top + int(np.ceil((row + 1) * height)))
            columns = slice(left + int(column * width), left + int(np.ceil((column + 1) * width)))
            pooled[:, row, column] = feature_map[:, rows, columns].amax(dim=(1, 2))
    return pooled


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_roi_pool_takes_the_maximum_over_whole_cells(dtype: torch.dtype) -> None:
    feature_map = torch.randn(3, 16, 16).to(dtype)
    pool = RoIPool(feature_names=["0"], strides=[8], output_size=4, operation="pool")
    box = torch.tensor([[17.0, 30.0, 87.0, 105.0]])  # rounded to cells: 2, 4, 11, 13
    pooled = pool({"0": feature_map[None]}, [box])
    assert pooled.dtype == dtype
    assert torch.equal(pooled[0].float(), naive_roi_pool(feature_map.float(), [2, 4, 11, 13], 4))


def test_roi_pool_over_a_pyramid_has_gradients() -> None:
    features = {name: maps.requires_grad_() for name, maps in pyramid().items()}
    pool = RoIPool(feature_names=NAMES, strides=STRIDES, output_size=7, operation="pool")
    pool(features, [torch.tensor([[0.0, 0, 20, 20], [0.0, 0, 400, 300]])]).sum().backward()
    assert features["0"].grad.abs().sum() > 0
    assert features["2"].grad.abs().sum() > 0
    assert features["3"].grad.abs().sum() == 0
