"""Suppression that stops early is torchvision's, to the bit."""

import pytest
import torch
from torchvision.ops import batched_nms, nms

from nucleiseg.models.nms import apart, best_of_each


def crowd(
    count: int, groups: int, seed: int, *, whole: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes that overlap heavily; whole numbers make many IoUs equal to simple fractions."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * 150
    boxes = torch.cat([corners, corners + 4 + 30 * torch.rand(count, 2, generator=generator)], dim=1)
    scores = torch.randperm(count, generator=generator).float()
    return boxes.round() if whole else boxes, scores, torch.randint(groups, (count,), generator=generator)


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("limit", [1, 150, 100_000])
@pytest.mark.parametrize("iou", [0.5, 0.6, 0.7])
def test_the_kept_are_torchvisions_first(groups: int, limit: int, iou: float) -> None:
    for whole in (False, True):
        boxes, scores, group = crowd(3000, groups, seed=limit, whole=whole)
        assert torch.equal(
            best_of_each(boxes, scores, group, iou, limit), batched_nms(boxes, scores, group, iou)[:limit]
        )


def test_boxes_without_area_suppress_nothing() -> None:
    boxes = torch.zeros(2500, 4)
    scores = torch.arange(2500.0)
    assert len(best_of_each(boxes, scores, torch.zeros(2500, dtype=torch.int64), 0.5, 5000)) == 2500


def test_few_boxes_and_none() -> None:
    boxes, scores, group = crowd(20, 2, seed=0)
    assert torch.equal(best_of_each(boxes, scores, group, 0.5, 7), batched_nms(boxes, scores, group, 0.5)[:7])
    assert len(best_of_each(boxes[:0], scores[:0], group[:0], 0.5, 7)) == 0


@pytest.mark.parametrize("iou", [0.3, 0.7])
def test_groups_that_lie_apart_are_suppressed_in_one_go(iou: float) -> None:
    boxes, scores, group = crowd(900, 4, seed=3)  # so few that torchvision does the same on the CPU
    assert torch.equal(nms(apart(boxes, group), scores, iou), batched_nms(boxes, scores, group, iou))
    alone, scores, group = crowd(900, 1, seed=4)
    assert torch.equal(apart(alone, group), alone)
