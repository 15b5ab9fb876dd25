"""Repeat factors against a hand-worked example, and the stream of images that they make."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.data.sampler import Repeats, StepSampler, repeat_factors

IMAGES = [[1, 1], [1], [1, 2], [1, 3, 3], []]
"""Classes of the nuclei of five images: class 1 is in four of five, classes 2 and 3 in one of five each."""


def test_factors_of_a_hand_worked_example() -> None:
    """T = 0.8: r(1) = max(1, sqrt(0.8 / 0.8)) = 1 and r(2) = r(3) = sqrt(0.8 / 0.2) = 2."""
    labels = [np.array(image, np.int64) for image in IMAGES]
    np.testing.assert_allclose(repeat_factors(labels, 0.8), [1, 1, 2, 2, 1])
    np.testing.assert_allclose(repeat_factors(labels, 0.45), [1, 1, 1.5, 1.5, 1])
    np.testing.assert_allclose(repeat_factors(labels, 0.2), 1)
    np.testing.assert_allclose(repeat_factors([np.zeros(0, np.int64)] * 2, 1.0), 1)


def test_without_a_rare_class_the_stream_is_that_without_repeats() -> None:
    plain = StepSampler(5, batch_size=2, total=20, seed=3)
    repeated = StepSampler(5, batch_size=2, total=20, seed=3, repeats=Repeats(np.ones(5), seed=3))
    assert list(plain) == list(repeated)


@given(st.lists(st.floats(1, 4), min_size=1, max_size=6), st.integers(0, 1000), st.integers(0, 300))
def test_every_place_lies_in_the_pass_that_counting_finds(factors: list[float], seed: int, place: int) -> None:
    repeats = Repeats(factors, seed)
    epoch, first = 0, 0
    while first + len(repeats.images(epoch)) <= place:
        first += len(repeats.images(epoch))
        epoch += 1
    assert repeats.locate(place) == (epoch, place - first)


@given(st.lists(st.floats(1, 4), min_size=1, max_size=6), st.integers(0, 1000))
def test_an_image_is_never_a_whole_one_off_its_share(factors: list[float], seed: int) -> None:
    repeats, counts = Repeats(factors, seed), np.zeros(len(factors))
    for epoch in range(12):
        images = np.bincount(repeats.images(epoch), minlength=len(factors))
        assert (images >= 1).all()
        counts += images
        assert (np.abs(counts - (epoch + 1) * np.array(factors)) < 1).all()


@pytest.mark.parametrize("start", [1, 7, 19])
def test_a_resumed_stream_is_the_rest_of_the_whole_one(start: int) -> None:
    repeats = Repeats([1.0, 1.3, 2.5], seed=1)
    whole = list(StepSampler(3, 2, total=20, seed=1, repeats=repeats))
    rest = StepSampler(3, 2, total=20, seed=1, start=start, repeats=Repeats([1.0, 1.3, 2.5], seed=1))
    assert list(rest) == whole[start:]


def test_two_processes_share_the_stream_of_one() -> None:
    repeats = Repeats([1.0, 1.3, 2.5], seed=1)
    one = [[key.index for key in batch] for batch in StepSampler(3, 4, total=10, seed=1, repeats=repeats)]
    two = [StepSampler(3, 2, total=10, seed=1, rank=rank, world_size=2, repeats=repeats) for rank in (0, 1)]
    parts = [[[key.index for key in batch] for batch in sampler] for sampler in two]
    assert [first + second for first, second in zip(*parts, strict=True)] == one


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Repeats([1.0, 0.5], seed=0)
