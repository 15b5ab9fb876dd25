"""Ignore regions: an exact share of each box, and boxes that are neither positive nor negative."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import image, small_network, target

from nucleiseg.models.config import RoIConfig
from nucleiseg.models.ignore_regions import IGNORED_SHARE, covered_share, without_ignored
from nucleiseg.structures import Target

QUARTERS = st.integers(-12, 40).map(lambda value: value / 4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**63 - 1), st.lists(st.tuples(*[QUARTERS] * 4), min_size=1, max_size=8))
def test_the_share_is_that_of_a_sum_over_small_squares(pixels: int, corners: list[tuple[float, ...]]) -> None:
    plane = torch.tensor([[bool(pixels >> 9 * row + column & 1) for column in range(9)] for row in range(7)])
    fine = plane.repeat_interleave(4, dim=0).repeat_interleave(4, dim=1)  # squares of a quarter of a pixel
    boxes = torch.tensor([[min(a, c), min(b, d), max(a, c) + 0.25, max(b, d) + 0.25] for a, b, c, d in corners])
    naive = []
    for x1, y1, x2, y2 in (boxes * 4).long().tolist():
        inside = fine[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)].sum()
        naive.append(float(inside) / ((x2 - x1) * (y2 - y1)))
    torch.testing.assert_close(covered_share(boxes, plane), torch.tensor(naive, dtype=torch.float64))


def test_only_negatives_are_ignored_from_half_of_their_area_on() -> None:
    plane = torch.zeros(8, 8, dtype=torch.bool)
    plane[:, :4] = True
    boxes = torch.tensor([[2.0, 0, 6, 8], [2.1, 0, 6.1, 8], [0, 0, 4, 4], [0, 0, 4, 4], [3, 3, 3, 3]])
    label = torch.tensor([0, 0, 1, -1, 0], dtype=torch.int8)
    assert without_ignored(label, boxes, plane).tolist() == [-1, 0, 1, -1, 0]
    assert without_ignored(label, boxes, None) is label


def halves(truth: Target) -> Target:
    ignore = torch.zeros(truth.layers.shape[1:], dtype=torch.bool)
    ignore[:, : ignore.shape[1] // 2] = True
    return replace(truth, ignore=ignore)


def test_the_rpn_samples_no_negative_in_an_ignore_region() -> None:
    network, truth = small_network(), target(6)
    maps = list(network.backbone(torch.zeros(1, 3, 96, 96)).values())
    grid = network.rpn.anchor_generator.grid((96, 96), maps)
    anchors = grid.boxes()
    network.rpn.rule = network.rpn.rule._replace(batch_size=10**6)
    free, sample = (network.rpn.sample(grid, anchors, item) for item in (truth, halves(truth)))
    ignore = halves(truth).ignore
    assert ignore is not None
    ignored = set(torch.where(covered_share(anchors, ignore) >= IGNORED_SHARE)[0].tolist())
    assert set(sample.negative.tolist()) == set(free.negative.tolist()) - ignored
    assert set(sample.positive.tolist()) == set(free.positive.tolist())
    assert ignored & set(free.positive.tolist())  # matched boxes stay positive inside the region
    [prepared] = network.anchor_sampler()([image()], [halves(truth)])  # the loader's worker does the same
    assert prepared.anchors is not None
    assert not ignored & set(prepared.anchors.negative.tolist())


def test_the_box_head_samples_no_background_in_an_ignore_region() -> None:
    heads, truth = small_network(roi=RoIConfig(batch_size=1000)).roi_heads, halves(target(6))
    corners = torch.rand(300, 2, 2, generator=torch.Generator().manual_seed(0)) * 80
    samples = heads.sample(torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 1], dim=1), truth)
    assert truth.ignore is not None
    share = covered_share(samples.boxes, truth.ignore)
    assert (share[samples.labels == 0] < IGNORED_SHARE).all()
    assert (share[samples.labels > 0] >= IGNORED_SHARE).any()
    assert (samples.labels == 0).any()


@pytest.mark.parametrize("family", ["fpn", "c4"])
def test_an_image_that_is_all_ignored_trains_on_nothing(family: str) -> None:
    network = small_network(family)
    truth = replace(target(0), ignore=torch.ones(96, 80, dtype=torch.bool))
    losses = network([image()], [truth])
    assert all(loss.isfinite() and loss.requires_grad for loss in losses.values())
    assert losses["loss_cls"] == 0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("family", ["fpn", "c4"])
def test_a_region_without_pixels_changes_no_bit(family: str) -> None:
    losses = [
        small_network(family)([image()], [replace(target(5), ignore=ignore)])
        for ignore in (None, torch.zeros(96, 80, dtype=torch.bool))
    ]
    assert losses[0] == losses[1]
