"""The proposal network: detectron2's logits, proposals, labels and losses; torchvision's where asked for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import FAMILIES, GoldenFamily
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from nucleiseg.models.anchors import GridAnchorGenerator
from nucleiseg.models.backbones.families import build_backbone
from nucleiseg.models.matching import match_anchors
from nucleiseg.models.numerics import DETECTRON2, TORCHVISION
from nucleiseg.models.rpn import ProposalNetwork
from nucleiseg.structures import Target

Run = tuple[GoldenFamily, ProposalNetwork, ImageList, dict[str, Tensor]]


def make_target(boxes: Tensor, seed: int | None = None) -> Target:
    count = torch.arange(len(boxes))
    layers = torch.zeros(1, 1, 1, dtype=torch.int32)
    return Target(boxes, torch.ones_like(count), layers, torch.zeros_like(count), count + 1, seed=seed)


def align(boxes: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Find for each reference box the row of `boxes` nearest to it, each row once."""
    distance = np.abs(boxes[None] - reference[:, None]).max(axis=2)
    rows = distance.argmin(axis=1)
    assert sorted(rows) == list(range(len(boxes)))
    return rows


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest) -> Run:
    """A golden network up to the features, and its RPN."""
    family = GoldenFamily.load(Path(__file__).parent.parent / "golden", request.param)
    parts = build_backbone(**family.backbone_arguments())
    parts.backbone.load_state_dict(family.part("backbone."))
    generator = GridAnchorGenerator(sizes=family.anchor_sizes, strides=list(parts.backbone.strides.values()))
    head = RPNHead(parts.backbone.out_channels, generator.num_anchors_per_location()[0])
    network = ProposalNetwork(anchor_generator=generator, head=head, **family.rpn_arguments())
    network.load_state_dict(family.part("rpn."))
    pixels = family.network_input()
    with torch.no_grad():
        features = parts.backbone(pixels)
    return family, network, ImageList(pixels, [(200, 240)]), features


def test_logits_and_deltas_are_detectron2s(run: Run) -> None:
    family, network, _, features = run
    with torch.no_grad():
        logits, deltas = network.head(list(features.values()))
    for level in range(family.levels):
        for name, values in (("logits", logits), ("deltas", deltas)):
            expected = family.arrays[f"rpn_{name}_{level}"]
            np.testing.assert_allclose(values[level][0].numpy(), expected, rtol=1e-3, atol=1e-3)


def test_proposals_are_detectron2s(run: Run) -> None:
    family, network, images, features = run
    grid = network.anchor_generator.grid(tuple(images.tensors.shape[-2:]), list(features.values()))
    with torch.no_grad():
        logits, deltas = network.predict(list(features.values()))
    (proposals,) = network.proposals(grid, grid.boxes(), logits, deltas, images.image_sizes, training=False)
    rows = align(proposals.boxes.numpy(), family.arrays["proposal_boxes"])
    np.testing.assert_allclose(proposals.boxes[rows].numpy(), family.arrays["proposal_boxes"], atol=0.05)
    np.testing.assert_allclose(proposals.logits[rows].numpy(), family.arrays["proposal_logits"], atol=2e-3)
    assert (proposals.logits.diff() <= 0).all()
    boxes, losses = network(images, features)
    assert boxes[0].equal(proposals.boxes)
    assert losses == {}


def test_training_is_detectron2s(run: Run) -> None:
    family, network, images, features = run
    target = make_target(torch.from_numpy(family.arrays["gt_boxes"]), seed=5)
    (boxes,), losses = network(images, features, [target])
    rows = align(boxes.numpy(), family.arrays["train_proposal_boxes"])
    np.testing.assert_allclose(boxes[rows].numpy(), family.arrays["train_proposal_boxes"], atol=0.05)
    for name in ("loss_rpn_cls", "loss_rpn_loc"):
        assert losses[name].item() == pytest.approx(family.scalars["train"]["losses"][name], rel=5e-5)


def test_labels_are_detectron2s(run: Run) -> None:
    family, network, images, features = run
    grid = network.anchor_generator.grid(tuple(images.tensors.shape[-2:]), list(features.values()))
    gt_boxes = torch.from_numpy(family.arrays["gt_boxes"])
    matches = match_anchors(grid, grid.boxes(), gt_boxes, high=0.7, low=0.3)
    assert np.array_equal(matches.label.numpy(), family.arrays["train_rpn_labels"])
    positive = gt_boxes[matches.gt[matches.label == 1]]
    assert np.array_equal(positive.numpy(), family.arrays["train_rpn_pos_gt_boxes"])


@pytest.fixture
def make_network() -> Callable[..., ProposalNetwork]:
    def make(**settings: object) -> ProposalNetwork:
        torch.manual_seed(0)
        numerics = settings.get("numerics", DETECTRON2)
        generator = GridAnchorGenerator(sizes=[(8,), (16,)], strides=[4, 8], numerics=numerics)
        return ProposalNetwork(anchor_generator=generator, head=RPNHead(6, 3), **settings)

    return make


@pytest.fixture
def inputs() -> tuple[ImageList, dict[str, Tensor], list[Target]]:
    generator = torch.Generator().manual_seed(1)
    images = ImageList(torch.zeros(2, 3, 64, 64), [(60, 64), (64, 50)])
    features = {
        "0": torch.randn(2, 6, 16, 16, generator=generator) * 30,
        "1": torch.randn(2, 6, 8, 8, generator=generator) * 30,
    }
    corner = torch.rand(2, 9, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 5 + 15 * torch.rand(2, 9, 2, generator=generator)], dim=2)
    return images, features, [make_target(boxes[0], seed=1), make_target(boxes[1], seed=2)]


def test_torchvision_numerics_are_torchvisions(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, targets = inputs
    ours = make_network(numerics=TORCHVISION, batch_size=10_000, pre_nms_train=70, pre_nms_test=40, post_nms_train=60)
    theirs = RegionProposalNetwork(
        AnchorGenerator(((8,), (16,)), ((0.5, 1.0, 2.0),) * 2),
        ours.head,
        0.7,
        0.3,
        batch_size_per_image=10_000,  # everything: the random choice leaves no trace
        positive_fraction=0.5,
        pre_nms_top_n={"training": 70, "testing": 40},
        post_nms_top_n={"training": 60, "testing": 1000},
        nms_thresh=0.7,
    )
    expected, losses = theirs(images, features, [{"boxes": target.boxes} for target in targets])
    boxes, ours_losses = ours(images, features, targets)
    for ours_boxes, theirs_boxes in zip(boxes, expected, strict=True):
        torch.testing.assert_close(ours_boxes, theirs_boxes)
    torch.testing.assert_close(ours_losses["loss_rpn_cls"], losses["loss_objectness"])
    torch.testing.assert_close(ours_losses["loss_rpn_loc"], losses["loss_rpn_box_reg"])
    boxes, expected = ours.eval()(images, features)[0], theirs.eval()(images, features)[0]
    for ours_boxes, theirs_boxes in zip(boxes, expected, strict=True):
        torch.testing.assert_close(ours_boxes, theirs_boxes)


def test_losses_reach_the_features_and_proposals_do_not(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, targets = inputs
    features = {name: values.requires_grad_() for name, values in features.items()}
    boxes, losses = make_network()(images, features, targets)
    assert not boxes[0].requires_grad
    sum(losses.values()).backward()
    assert all(values.grad is not None and values.grad.abs().sum() > 0 for values in features.values())


def test_sampling_follows_each_targets_seed(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, targets = inputs
    network = make_network(batch_size=16)

    def loss(seeds: tuple[int, int]) -> float:
        seeded = [make_target(target.boxes, seed) for target, seed in zip(targets, seeds, strict=True)]
        return network(images, features, seeded)[1]["loss_rpn_cls"].item()

    assert loss((1, 2)) == loss((1, 2))
    assert loss((1, 2)) != loss((1, 3))


def test_losses_are_divided_by_a_constant(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, targets = inputs
    small, large = (make_network(batch_size=size)(images, features, targets)[1] for size in (5_000, 10_000))
    for name, value in small.items():  # both sample everything there is
        torch.testing.assert_close(value, 2 * large[name])


def test_targets_not_the_mode_choose_the_limits(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, targets = inputs
    network = make_network(post_nms_train=7, post_nms_test=3)
    for mode in (True, False):
        network.train(mode)
        assert [len(boxes) for boxes in network(images, features, targets)[0]] == [7, 7]
        assert [len(boxes) for boxes in network(images, features)[0]] == [3, 3]


def test_an_image_without_nuclei_is_all_background(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, _ = inputs
    losses = make_network()(images, features, [make_target(torch.zeros(0, 4))] * 2)[1]
    assert losses["loss_rpn_cls"] > 0
    assert losses["loss_rpn_loc"] == 0
    assert losses["loss_rpn_loc"].requires_grad


def test_boxes_lie_in_the_unpadded_image(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, _ = inputs
    for boxes, (height, width) in zip(make_network()(images, features)[0], images.image_sizes, strict=True):
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_what_is_not_finite_is_dropped_or_an_error(
    make_network: Callable[..., ProposalNetwork], inputs: tuple[ImageList, dict[str, Tensor], list[Target]]
) -> None:
    images, features, targets = inputs
    network = make_network()
    features["1"][0, :, 2, 2] = torch.nan
    boxes = network(images, features)[0]
    assert all(image_boxes.isfinite().all() and len(image_boxes) for image_boxes in boxes)
    with pytest.raises(FloatingPointError, match="proposals are not finite"):
        network(images, features, targets)
