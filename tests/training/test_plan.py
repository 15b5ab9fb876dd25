"""Which checkpoints are written, validated and kept, and their bytes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.training.plan import CheckpointPlan, last_bytes, step_bytes


def rows(*scores: float | None) -> list[dict[str, str]]:
    """Rows of index.csv at steps 1, 2, ..."""
    return [
        {"step": str(step), "val/ap50": "" if value is None else str(value)} for step, value in enumerate(scores, 1)
    ]


def steps(kept: list) -> list[int]:
    return [int(row["step"]) for row in kept]


def test_checkpoints_of_the_recipe() -> None:
    plan = CheckpointPlan(max_steps=2400, every=200)
    assert [step for step in range(1, 2401) if plan.is_checkpoint(step)] == list(range(200, 2401, 200))
    assert plan.count() == 12


def test_the_last_step_has_a_checkpoint_and_is_validated() -> None:
    plan = CheckpointPlan(max_steps=7, every=2, validate_every=2)
    assert [step for step in range(1, 8) if plan.is_checkpoint(step)] == [2, 4, 6, 7]
    assert [step for step in (2, 4, 6, 7) if plan.is_validated(step)] == [4, 7]
    assert plan.count() == 4


def test_the_best_stay_and_the_last() -> None:
    assert steps(CheckpointPlan(9, keep=2).kept(rows(0.1, 0.5, 0.4, 0.2, 0.3))) == [2, 3, 5]
    assert steps(CheckpointPlan(9, keep=2).kept(rows(0.1, 0.5, 0.4, 0.2, 0.6))) == [2, 5]
    assert steps(CheckpointPlan(9).kept(rows(0.1, 0.5, 0.4))) == [1, 2, 3]


def test_without_validation_the_latest_stay() -> None:
    assert steps(CheckpointPlan(9, keep=2).kept(rows(None, None, None, None))) == [3, 4]
    assert steps(CheckpointPlan(9, keep=1).kept(rows(0.1, None, None))) == [1, 3]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=12), st.integers(1, 4))
def test_pruning_as_one_goes_keeps_what_pruning_at_the_end_keeps(scores: list[float | None], keep: int) -> None:
    plan, kept = CheckpointPlan(99, keep=keep), []
    for row in rows(*scores):
        kept = plan.kept([*kept, row])
        assert len(kept) <= keep + 1
    assert kept == plan.kept(rows(*scores))


def test_bytes_are_those_of_the_tensors() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(10, 10, bias=False), torch.nn.BatchNorm1d(10))
    network[1].requires_grad_(False)
    weights = 4 * (100 + 4 * 10) + 8  # weight; gamma, beta, mean, variance; a counter of int64
    assert step_bytes(network) == weights
    assert last_bytes(network, optimizer_states=1) == weights + 400
    assert last_bytes(network, optimizer_states=2) == weights + 800
