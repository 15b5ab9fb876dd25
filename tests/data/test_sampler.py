"""Batches are a function of (seed, micro-step, position in the global batch) and of nothing else."""

import pickle
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.data.sampler import SampleKey, StepSampler, sample_seed

SIZES = {"length": st.integers(1, 9), "batch_size": st.integers(1, 4), "seed": st.integers(0, 2**32)}


@given(start=st.integers(0, 12), **SIZES)
@settings(deadline=None)
def test_a_run_started_in_the_middle_yields_the_tail_of_the_whole_run(
    start: int, length: int, batch_size: int, seed: int
) -> None:
    whole = StepSampler(length, batch_size, total=12, seed=seed)
    tail = StepSampler(length, batch_size, total=12, seed=seed, start=start)
    assert list(tail) == list(whole)[start:]
    assert len(tail) == len(whole) == 12


@given(world=st.integers(1, 4), **SIZES)
@settings(deadline=None)
def test_the_processes_together_take_what_one_process_with_the_global_batch_takes(
    world: int, length: int, batch_size: int, seed: int
) -> None:
    ranks = [StepSampler(length, batch_size, 7, seed, rank=rank, world_size=world) for rank in range(world)]
    together = [list(chain(*batches)) for batches in zip(*ranks, strict=True)]
    assert together == list(StepSampler(length, batch_size * world, 7, seed))


@given(**SIZES)
@settings(deadline=None)
def test_each_pass_takes_every_image_once(length: int, batch_size: int, seed: int) -> None:
    keys = list(chain(*StepSampler(length, batch_size, total=3 * length, seed=seed)))
    for first in range(0, len(keys) - length + 1, length):
        assert sorted(key.index for key in keys[first : first + length]) == list(range(length))


def test_iterating_twice_gives_the_same() -> None:
    sampler = StepSampler(5, 2, total=9, seed=3)
    assert list(sampler) == list(sampler)


def test_seeds_passes_and_positions_differ() -> None:
    orders = {tuple(key.index for key in chain(*StepSampler(20, 1, total=20, seed=seed))) for seed in range(5)}
    assert len(orders) == 5
    one = [key.index for key in chain(*StepSampler(20, 1, total=40, seed=0))]
    assert one[:20] != one[20:]
    seeds = {sample_seed(seed, step, position) for seed in range(3) for step in range(50) for position in range(4)}
    assert len(seeds) == 600


def test_the_numbers_do_not_change_between_versions() -> None:
    """A run that was begun with an older version resumes with the same samples."""
    assert list(StepSampler(5, 2, total=2, seed=0)) == [
        [SampleKey(3, 1835504127), SampleKey(2, 1162687101)],
        [SampleKey(1, 1501029259), SampleKey(0, 976079443)],
    ]


def test_seeds_fit_in_32_bits() -> None:
    assert all(0 <= sample_seed(2**40, step, 0) < 2**32 for step in range(100))


def test_keys_pickle() -> None:
    key = SampleKey(3, None)
    assert pickle.loads(pickle.dumps(key)) == key


@pytest.mark.parametrize("change", [{"length": 0}, {"batch_size": 0}, {"start": 11}, {"rank": 2}, {"rank": -1}])
def test_nonsense_is_refused(change: dict[str, int]) -> None:
    arguments = {"length": 5, "batch_size": 1, "total": 10, "seed": 0, "world_size": 2} | change
    with pytest.raises(ValueError, match="="):
        StepSampler(**arguments)
