"""RoIAlign as a sum of rows is torchvision's operator, forwards and backwards."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import roi_align

from nucleiseg.models.roi_gather import gather_rois


def random_rois(count: int, side: float, images: int, generator: torch.Generator) -> Tensor:
    """RoIs of all shapes, some of them empty, some beyond the borders of a picture of `side` pixels."""
    corners = torch.rand(count, 4, generator=generator) * 1.4 * side - 0.2 * side
    boxes = torch.cat([corners[:, :2].minimum(corners[:, 2:]), corners[:, :2].maximum(corners[:, 2:])], dim=1)
    boxes[::7, 2:] = boxes[::7, :2]
    return torch.cat([torch.randint(images, (count, 1), generator=generator), boxes], dim=1)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 20),
    size=st.integers(1, 8),
    every=st.integers(1, 3),
    ratio=st.integers(0, 3),
    aligned=st.booleans(),
)
def test_values_and_gradients_are_torchvisions(
    seed: int, count: int, size: int, every: int, ratio: int, aligned: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    feature_map = torch.randn(2, 3, 11, 14, generator=generator, requires_grad=True)
    rois = random_rois(count, 80.0, 2, generator)
    expected = roi_align(feature_map, rois, size, 1 / 8, ratio, aligned)[:, :, ::every, ::every]
    found = gather_rois(
        feature_map, rois, size=size, scale=1 / 8, sampling_ratio=ratio, aligned=aligned, every=every
    ).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    direction = torch.randn(expected.shape, generator=generator)
    (gradient,) = torch.autograd.grad(found, feature_map, direction)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, feature_map, direction)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_layout_of_the_map_changes_nothing(layout: torch.memory_format) -> None:
    feature_map = torch.randn(1, 4, 9, 9)
    rois = random_rois(10, 72.0, 1, torch.Generator().manual_seed(0))
    expected = gather_rois(feature_map, rois, size=7, scale=1 / 8)
    assert torch.equal(gather_rois(feature_map.to(memory_format=layout), rois, size=7, scale=1 / 8), expected)


def test_two_runs_give_the_same_gradient_to_the_bit() -> None:
    feature_map = torch.randn(1, 16, 30, 30, requires_grad=True)
    rois = random_rois(200, 240.0, 1, torch.Generator().manual_seed(0))
    gradients = [
        torch.autograd.grad(gather_rois(feature_map, rois, size=7, scale=1 / 8).square().sum(), feature_map)[0]
        for _ in range(3)
    ]
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_no_rois_leave_a_graph() -> None:
    feature_map = torch.randn(1, 4, 9, 9, requires_grad=True)
    pooled = gather_rois(feature_map, torch.zeros(0, 5), size=7, scale=1 / 8, every=2)
    assert pooled.shape == (0, 4, 4, 4)
    pooled.sum().backward()
    assert feature_map.grad is not None
    assert (feature_map.grad == 0).all()
