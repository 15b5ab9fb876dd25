"""Anchors sampled beforehand are those that the network would sample: the losses are equal to the bit."""

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import image, small_network, target

from nucleiseg.models import rpn
from nucleiseg.models.anchor_grid import cell_numbers
from nucleiseg.models.anchor_sampler import AnchorSampler
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.part_configs import AnchorConfig, RPNConfig

NETWORKS: dict[str, dict[str, Any]] = {
    "fpn": {},
    "fpn, all sizes on every level": {"anchors": AnchorConfig(every_level=True)},
    "fpn, torchvision": {"numerics": "torchvision"},
    "c4": {"family": "c4"},
    "dc5": {"family": "dc5"},
}

SIDES = st.integers(33, 140)


@pytest.fixture(scope="module")
def networks() -> dict[str, MaskRCNN]:
    return {name: small_network(**arguments).train() for name, arguments in NETWORKS.items()}


@pytest.fixture
def unmatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """No anchor is matched by the network itself."""
    monkeypatch.setattr(rpn, "sample_anchors", lambda *_: pytest.fail("the network sampled anchors"))


@pytest.mark.parametrize("name", NETWORKS)
@settings(deadline=None, max_examples=6)
@given(sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3))
def test_maps_have_the_shapes_that_were_foreseen(
    networks: dict[str, MaskRCNN], name: str, sizes: list[tuple[int, int]]
) -> None:
    network = networks[name]
    batch, _ = network.transform([image(*size) for size in sizes])
    with torch.no_grad():
        maps = list(network.backbone(batch.tensors).values())
    seen = network.rpn.anchor_generator.grid(tuple(batch.tensors.shape[-2:]), maps)
    foreseen = network.anchor_sampler().grid(sizes)
    assert foreseen.shapes == seen.shapes
    assert foreseen.strides == seen.strides
    assert all(mine.equal(theirs) for mine, theirs in zip(foreseen.cell_anchors, seen.cell_anchors, strict=True))
    assert foreseen.cells == seen.cells == cell_numbers(seen.cell_anchors)


@pytest.mark.parametrize("name", NETWORKS)
@settings(deadline=None, max_examples=4)
@given(images=st.lists(st.tuples(SIDES, SIDES, st.integers(0, 30)), min_size=1, max_size=3), seed=st.integers(0, 2**40))
def test_losses_are_equal_to_the_bit(
    networks: dict[str, MaskRCNN], name: str, images: list[tuple[int, int, int]], seed: int
) -> None:
    network, pixels = networks[name], [image(height, width) for height, width, _ in images]
    targets = [target(count, height, width, seed=seed + i) for i, (height, width, count) in enumerate(images)]
    prepared = network.anchor_sampler()(pixels, targets)
    assert all(its.anchors is not None for its in prepared)
    with torch.no_grad():
        expected, found = network(pixels, targets), network(pixels, prepared)
    assert {name: loss.item() for name, loss in found.items()} == {name: loss.item() for name, loss in expected.items()}


@pytest.mark.usefixtures("unmatched")
def test_the_network_matches_no_anchor_then(networks: dict[str, MaskRCNN]) -> None:
    network, images = networks["fpn"], [image(96, 80), image(64, 120)]
    targets = network.anchor_sampler()(images, [target(9), target(0, 64, 120)])
    network(images, targets)
    with pytest.raises(pytest.fail.Exception, match="the network sampled anchors"):
        network(images[:1], targets[:1])  # padded otherwise: other maps


def test_samples_for_other_maps_are_not_taken(networks: dict[str, MaskRCNN]) -> None:
    network, images = networks["fpn"], [image(96, 80), image(64, 120)]
    targets = [target(9), target(4, 64, 120)]
    prepared = network.anchor_sampler()(images, targets)
    with torch.no_grad():
        assert network(images[:1], prepared[:1]) == network(images[:1], targets[:1])


@pytest.mark.parametrize(
    "change", [{"anchors": AnchorConfig(sizes=(8, 16, 24, 64, 128))}, {"rpn": RPNConfig(batch_size=16)}]
)
def test_samples_for_another_network_are_not_taken(networks: dict[str, MaskRCNN], change: dict[str, Any]) -> None:
    other, images, targets = small_network(**change).train(), [image()], [target(9)]
    prepared, its_own = (network.anchor_sampler()(images, targets) for network in (networks["fpn"], other))
    foreign, own = prepared[0].anchors, its_own[0].anchors
    assert foreign is not None
    assert own is not None
    assert not torch.equal(torch.cat([foreign.positive, foreign.negative]), torch.cat([own.positive, own.negative]))
    with torch.no_grad():
        assert other(images, prepared) == other(images, targets)


def test_samples_are_counted_as_the_rule_says(networks: dict[str, MaskRCNN]) -> None:
    network, truth = networks["fpn"], target(30)
    sampler = network.anchor_sampler()
    (prepared,) = sampler([image()], [truth])
    sample, anchors = prepared.anchors, sampler.grid([(96, 80)]).boxes()
    assert sample is not None
    assert 0 < len(sample.positive) <= sampler.rule.batch_size * sampler.rule.positive_fraction
    assert len(sample.positive) + len(sample.negative) == sampler.rule.batch_size == 32
    assert (truth.boxes[sample.gt, :2] < anchors[sample.positive, 2:]).all()  # each overlaps its instance
    assert (truth.boxes[sample.gt, 2:] > anchors[sample.positive, :2]).all()


def test_without_a_seed_the_network_draws(networks: dict[str, MaskRCNN]) -> None:
    sampler, unseeded = networks["fpn"].anchor_sampler(), target(5, seed=None)
    prepared = sampler([image(), image()], [unseeded, target(5)])
    assert prepared[0] is unseeded
    assert prepared[1].anchors is not None


def test_it_survives_the_way_to_a_worker(networks: dict[str, MaskRCNN]) -> None:
    sampler: AnchorSampler = networks["fpn"].anchor_sampler()
    sent = pickle.loads(pickle.dumps(sampler))
    assert sent == sampler
    here, there = (each([image()], [target(9)])[0].anchors for each in (sampler, sent))
    assert here is not None
    assert there is not None
    assert here.positive.equal(there.positive)
    assert here.negative.equal(there.negative)


def test_it_follows_a_network_with_other_anchors() -> None:
    one, other = (
        small_network(anchors=AnchorConfig(sizes=sizes)).anchor_sampler()
        for sizes in ((8, 16, 32, 64, 128), (9, 16, 32, 64, 128))
    )
    assert one != other
    assert replace(other, cells=one.cells) == one


@pytest.mark.slow
def test_a_worker_does_not_wait_for_torchvision() -> None:
    code = "import sys, nucleiseg.models.anchor_sampler as _; print('torchvision' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
