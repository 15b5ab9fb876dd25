"""Sampling: counts, classes, no repetition, and draws that depend on the seed alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from nucleiseg.models.sampling import Stream, image_generator, sample_balanced


@settings(deadline=None)
@given(
    labels=st.lists(st.sampled_from([-1, 0, 1]), max_size=60),
    size=st.integers(0, 40),
    fraction=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    seed=st.integers(0, 2**40),
)
def test_counts_are_torchvisions(labels: list[int], size: int, fraction: float, seed: int) -> None:
    label = torch.tensor(labels, dtype=torch.int8)
    positive, negative = sample_balanced(label, size, fraction, image_generator(seed, Stream.RPN))
    theirs = BalancedPositiveNegativeSampler(size, fraction)([label])
    assert [len(positive), len(negative)] == [int(mask[0].sum()) for mask in theirs]
    assert (label[positive] == 1).all()
    assert (label[negative] == 0).all()
    drawn = torch.cat([positive, negative])
    assert len(drawn.unique()) == len(drawn)


def test_draws_follow_the_seed() -> None:
    label = torch.arange(200) % 2
    draws = [
        torch.cat(sample_balanced(label, 40, 0.5, image_generator(seed, stream))).tolist()
        for seed, stream in [(7, Stream.RPN), (7, Stream.RPN), (8, Stream.RPN), (7, Stream.ROI)]
    ]
    assert draws[0] == draws[1]
    assert len({tuple(draw) for draw in draws}) == 3


def test_without_a_seed_samples_use_the_global_state() -> None:
    assert image_generator(None, Stream.RPN) is None
    label = torch.ones(50)
    torch.manual_seed(3)
    first = sample_balanced(label, 10, 1.0)[0]
    torch.manual_seed(3)
    assert sample_balanced(label, 10, 1.0)[0].equal(first)


@pytest.mark.parametrize("seed", [0, 2**62, 2**63 - 1])
def test_every_seed_works(seed: int) -> None:
    assert isinstance(image_generator(seed, Stream.ROI), torch.Generator)


def test_every_candidate_is_sampled_equally_often() -> None:
    label = torch.ones(10)
    counts = torch.zeros(10)
    for seed in range(600):
        counts[sample_balanced(label, 3, 1.0, image_generator(seed, Stream.RPN))[0]] += 1
    assert counts.sum() == 1800
    assert (counts - 180).abs().max() < 60  # 5 standard deviations of a binomial of 600 and 0.3
