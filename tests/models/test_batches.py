"""Batches: every image counts for itself; and images on which the network proposes nothing at all."""

import pytest
import torch
from small_networks import image, small_network, target

FAMILIES = ("fpn", "c4", "dc5")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_losses_of_a_batch_are_the_means_of_its_images(family: str) -> None:
    network = small_network(family).train()
    images = [image(seed=1), image(seed=2)]
    targets = [target(9, seed=1), target(30, seed=2)]
    with torch.no_grad():
        both = network(images, targets)
        alone = [network([one], [its]) for one, its in zip(images, targets, strict=True)]
    for name in ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"):
        torch.testing.assert_close(both[name], (alone[0][name] + alone[1][name]) / 2, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_predictions_of_a_batch_are_those_of_its_images(family: str) -> None:
    network = small_network(family).eval()
    network.roi_heads.score_thresh = 0.0
    images = [image(seed=1), image(seed=2)]
    with torch.no_grad():
        both = network(images)
        alone = [network([one])[0] for one in images]
    assert not torch.equal(alone[0].boxes, alone[1].boxes)
    for together, single in zip(both, alone, strict=True):
        assert len(together) > 0
        torch.testing.assert_close(together.boxes, single.boxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(together.masks, single.masks, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_proposal_is_no_detection(family: str) -> None:
    network = small_network(family).eval()
    torch.nn.init.constant_(network.rpn.head.bbox_pred.bias, torch.nan)
    found = network([image()])[0]
    assert (len(found), found.boxes.shape, found.masks.ndim) == (0, (0, 4), 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_proposal_and_no_nucleus_is_a_finite_loss(family: str) -> None:
    network = small_network(family).train()
    shape = torch.Size((96, 80))
    features = network.backbone(torch.zeros(1, 3, *shape))
    _, losses = network.roi_heads(features, [torch.zeros(0, 4)], [(96, 80)], [target(0)])
    assert all(loss.isfinite() and loss.requires_grad for loss in losses.values())
