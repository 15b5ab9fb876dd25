"""Sparse matching equals torchvision's dense one to the bit: ties, borders, no overlap, low quality."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from nucleiseg.models.anchor_grid import AnchorGrid
from nucleiseg.models.anchors import GridAnchorGenerator
from nucleiseg.models.matching import Matches, match, match_anchors, match_boxes, match_densely
from nucleiseg.models.overlaps import Pairs, anchor_pairs, expand, overlapping_pairs


def dense_label(boxes: Tensor, gt_boxes: Tensor, *, high: float, low: float, low_quality: bool) -> Tensor:
    """What torchvision answers: the instance, -1 for background, -2 for neither."""
    return Matcher(high, low, allow_low_quality_matches=low_quality)(box_iou(gt_boxes, boxes))


def as_torchvision(matches: Matches) -> Tensor:
    return torch.where(matches.label == 1, matches.gt, torch.where(matches.label == 0, -1, -2))


@st.composite
def boxes_in(draw: st.DrawFn, size: int, least: int, most: int) -> Tensor:
    """Boxes with corners at half pixels, so that ties are common, some over the border, some twice."""
    coordinate = st.integers(-2 * size // 4, 2 * size * 5 // 4)
    side = st.sampled_from([1, 2, 4, 8, 15, 16, 23, 32, 64, 2 * size])
    corners = draw(st.lists(st.tuples(coordinate, coordinate, side, side), min_size=least, max_size=most))
    corners += draw(st.lists(st.sampled_from(corners), max_size=3)) if corners else []
    boxes = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4) / 2
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)


def make_grid(
    sizes: list[list[int]], strides: list[int], height: int, width: int, ratios: Sequence[float] = (0.5, 1.0, 2.0)
) -> AnchorGrid:
    maps = [torch.zeros(1, 1, -(-height // stride), -(-width // stride)) for stride in strides]
    return GridAnchorGenerator(sizes=sizes, strides=strides, ratios=ratios).grid((height, width), maps)


GRIDS = {
    "fpn": make_grid([[8], [16], [32]], [4, 8, 16], 64, 80),
    "c4": make_grid([[8, 16, 32, 64]], [16], 64, 80),
    "sparse": make_grid([[4]], [32], 64, 80),  # many instances that no anchor touches
}


@pytest.mark.parametrize("name", GRIDS)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_anchors_match_as_in_torchvision(name: str, data: st.DataObject) -> None:
    grid, anchors = GRIDS[name], GRIDS[name].boxes()
    gt_boxes = data.draw(boxes_in(64, 1, 12))
    copied = data.draw(st.lists(st.integers(0, len(anchors) - 1), max_size=2))
    gt_boxes = torch.cat([gt_boxes, anchors[copied]])  # IoUs of exactly 1
    low, high = data.draw(st.sampled_from([(0.3, 0.7), (0.5, 0.5), (0.0, 0.25)]))
    low_quality = data.draw(st.booleans())
    matches = match_anchors(grid, anchors, gt_boxes, high=high, low=low, low_quality=low_quality)
    dense = dense_label(anchors, gt_boxes, high=high, low=low, low_quality=low_quality)
    assert as_torchvision(matches).equal(dense)
    decided = matches.iou >= max(low, 1e-9)
    assert matches.iou[decided].equal(box_iou(gt_boxes, anchors).amax(dim=0)[decided])


@settings(deadline=None, max_examples=100)
@given(
    boxes=boxes_in(64, 1, 25),
    gt_boxes=boxes_in(64, 1, 12),
    thresholds=st.sampled_from([(0.5, 0.5), (0.3, 0.7)]),
    low_quality=st.booleans(),
)
def test_boxes_match_as_in_torchvision(
    boxes: Tensor, gt_boxes: Tensor, thresholds: tuple[float, float], low_quality: bool
) -> None:
    boxes = torch.cat([boxes, gt_boxes])  # as in training, where the instances join the proposals
    low, high = thresholds
    matches = match_boxes(boxes, gt_boxes, high=high, low=low, low_quality=low_quality)
    best, index = box_iou(gt_boxes, boxes).max(dim=0)
    assert matches.iou.equal(best)
    assert matches.gt.equal(index)
    assert as_torchvision(matches).equal(dense_label(boxes, gt_boxes, high=high, low=low, low_quality=low_quality))


@settings(deadline=None, max_examples=100)
@given(
    boxes=boxes_in(64, 0, 25),
    gt_boxes=boxes_in(64, 1, 12),
    thresholds=st.sampled_from([(0.5, 0.5), (0.3, 0.7)]),
    low_quality=st.booleans(),
    flat=st.booleans(),
)
def test_the_dense_way_leads_to_the_same_matches(
    boxes: Tensor, gt_boxes: Tensor, thresholds: tuple[float, float], low_quality: bool, flat: bool
) -> None:
    boxes = torch.cat([boxes, gt_boxes])
    if flat:  # without area: no 0 / 0
        boxes[0, 2] = boxes[0, 0]
        gt_boxes[0] = boxes[0]
    low, high = thresholds
    sparse = match_boxes(boxes, gt_boxes, high=high, low=low, low_quality=low_quality)
    dense = match_densely(boxes, gt_boxes, high=high, low=low, low_quality=low_quality)
    assert all(mine.equal(theirs) for mine, theirs in zip(vars(dense).values(), vars(sparse).values(), strict=True))


@pytest.mark.parametrize("seed", range(5))
def test_rounding_of_real_coordinates_excludes_no_pair(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    grid = make_grid([[8], [16], [32]], [4, 8, 16], 320, 256)
    anchors = grid.boxes()
    size = torch.rand(80, 2, generator=generator) * 40
    corner = torch.rand(80, 2, generator=generator) * 300 - 10
    gt_boxes = torch.cat([corner, corner + size], dim=1)
    matches = match_anchors(grid, anchors, gt_boxes, high=0.7, low=0.3)
    assert as_torchvision(matches).equal(dense_label(anchors, gt_boxes, high=0.7, low=0.3, low_quality=True))
    shifted = anchors[::7] + torch.rand(1, generator=generator)
    best, index = box_iou(gt_boxes, shifted).max(dim=0)
    matches = match_boxes(shifted, gt_boxes, high=0.5, low=0.5)
    assert matches.iou.equal(best)
    assert matches.gt.equal(index)


@settings(deadline=None, max_examples=100)
@given(boxes=boxes_in(64, 0, 20), gt_boxes=boxes_in(64, 0, 20))
def test_overlapping_pairs_are_all_found_once(boxes: Tensor, gt_boxes: Tensor) -> None:
    assert_covers(overlapping_pairs(boxes, gt_boxes), box_iou(boxes, gt_boxes) > 0)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("min_iou", [0.0, 0.3, 0.7])
@settings(deadline=None, max_examples=30)
@given(gt_boxes=boxes_in(64, 0, 12))
def test_anchor_pairs_are_all_found_once(name: str, min_iou: float, gt_boxes: Tensor) -> None:
    iou = box_iou(GRIDS[name].boxes(), gt_boxes)
    assert_covers(anchor_pairs(GRIDS[name], gt_boxes, min_iou), (iou > 0) & (iou >= min_iou))


def assert_covers(pairs: Pairs, wanted: Tensor) -> None:
    found = torch.zeros(wanted.shape, dtype=torch.int64)
    found.index_put_(pairs, torch.tensor(1), accumulate=True)
    assert (found[wanted] == 1).all()
    assert (found <= 1).all()


def test_units_are_detectron2s(golden: Path) -> None:
    units = {name: torch.from_numpy(array) for name, array in np.load(golden / "units" / "units.npz").items()}
    boxes, gt_boxes = units["match_anchors"], units["match_gt"]
    matches = match_boxes(boxes, gt_boxes, high=0.7, low=0.3, low_quality=True)
    assert matches.iou.equal(units["match_iou"].amax(dim=0))
    assert matches.gt.equal(units["match_rpn_idx"].long())
    assert matches.label.equal(units["match_rpn_label"].to(torch.int8))
    matches = match_boxes(boxes, gt_boxes, high=0.5, low=0.5)
    assert matches.gt.equal(units["match_roi_idx"].long())
    assert matches.label.equal(units["match_roi_label"].to(torch.int8))


def test_an_instance_that_no_anchor_touches_makes_all_anchors_positive() -> None:
    grid = GRIDS["sparse"]
    anchors = grid.boxes()
    gt_boxes = torch.tensor([[30.0, 30, 34, 34], [14, 14, 18, 18]])  # the second lies between the cells
    matches = match_anchors(grid, anchors, gt_boxes, high=0.7, low=0.3)
    assert (matches.label == 1).all()
    assert as_torchvision(matches).equal(dense_label(anchors, gt_boxes, high=0.7, low=0.3, low_quality=True))


def test_a_low_quality_match_belongs_to_the_instance_it_overlaps_most() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    gt_boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 10, 5], [21, 0, 31, 10]])  # the first has its best in the second's
    matches = match_boxes(boxes, gt_boxes, high=0.7, low=0.3, low_quality=True)
    assert matches.label.tolist() == [1, 1]
    assert matches.gt.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("sizes", "gt_boxes", "positive"),
    [
        # The first instance only touches the anchor on cell (1, 1); the second overlaps that one more (0.28, no match
        # by itself), and has its own match in the next cell: the anchor becomes positive, and belongs to the second.
        ([16], [[12, 12, 16, 16], [17, 8, 33, 24]], {(1, 1, 0): 1, (1, 2, 0): 1}),
        # Four small anchors are near enough to be looked at (IoU 0.14), but it is one of the large ones (0.24), which
        # cannot reach 0.3 anywhere, that overlaps the instance most; so do its three neighbors.
        ([16, 30], [[16, 16, 32, 32]], {(1, 1, 1): 0, (1, 2, 1): 0, (2, 1, 1): 0, (2, 2, 1): 0}),
    ],
)
def test_low_quality_matches_outside_the_looked_at_pairs(
    sizes: list[int], gt_boxes: list[list[float]], positive: dict[tuple[int, int, int], int]
) -> None:
    grid = make_grid([sizes], [16], 64, 64, ratios=[1.0])
    matches = match_anchors(grid, grid.boxes(), torch.tensor(gt_boxes).float(), high=0.7, low=0.3)
    label, gt = (values.reshape(4, 4, len(sizes)) for values in (matches.label, matches.gt))
    assert {tuple(cell): int(gt[tuple(cell)]) for cell in (label == 1).nonzero().tolist()} == positive
    dense = dense_label(grid.boxes(), torch.tensor(gt_boxes).float(), high=0.7, low=0.3, low_quality=True)
    assert as_torchvision(matches).equal(dense)


def test_without_instances_everything_is_background() -> None:
    none = torch.zeros(0, 4)
    for matches in (
        match_anchors(GRIDS["fpn"], GRIDS["fpn"].boxes(), none, high=0.7, low=0.3),
        match_boxes(torch.tensor([[0.0, 0, 5, 5]]), none, high=0.5, low=0.5),
    ):
        assert (matches.label == 0).all()
        assert (matches.gt == 0).all()
    assert len(match_boxes(none, torch.tensor([[0.0, 0, 5, 5]]), high=0.5, low=0.5).gt) == 0


def test_boxes_without_area_overlap_nothing() -> None:
    point = torch.tensor([[3.0, 3, 3, 3]])
    matches = match_boxes(point, point, high=0.5, low=0.5)
    assert matches.iou.tolist() == [0.0]
    assert matches.label.tolist() == [0]
    assert anchor_pairs(GRIDS["fpn"], point, min_iou=0.3).box.numel() == 0


def test_duplicate_candidates_do_no_harm() -> None:
    boxes, gt_boxes = torch.rand(30, 4).sort(dim=1).values, torch.rand(6, 4).sort(dim=1).values
    pairs = overlapping_pairs(boxes, gt_boxes)
    once = match(boxes, gt_boxes, pairs, high=0.5, low=0.3, low_quality=True)
    twice = match(boxes, gt_boxes, Pairs.concatenate([pairs, pairs]), high=0.5, low=0.3, low_quality=True)
    assert all(a.equal(b) for a, b in zip(vars(once).values(), vars(twice).values(), strict=True))


def test_only_close_pairs_are_looked_at() -> None:
    """The work follows the number of nuclei, not nuclei x anchors."""
    grid = make_grid([[8], [16], [32], [64], [128]], [4, 8, 16, 32, 64], 608, 608)
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(500, 2, generator=generator) * 580
    gt_boxes = torch.cat([corner, corner + 24], dim=1)
    assert len(anchor_pairs(grid, gt_boxes, min_iou=0.3).box) < 30 * 500
    assert len(overlapping_pairs(gt_boxes, gt_boxes).box) < 15 * 500
    huge = torch.tensor([[100.0, 100, 400, 400]])  # no anchor of 8 pixels reaches an IoU of 0.3 with it
    assert len(anchor_pairs(make_grid([[8]], [4], 608, 608), huge, min_iou=0.3).box) == 0


def test_expand_writes_out_ranges() -> None:
    index, value = expand(torch.tensor([2, 0, 3]), torch.tensor([5, 9, 1]))
    assert index.tolist() == [0, 0, 2, 2, 2]
    assert value.tolist() == [5, 6, 1, 2, 3]
    assert expand(torch.tensor([1, 2]))[1].tolist() == [0, 0, 1]
