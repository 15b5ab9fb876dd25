"""Thirty SIGKILLs at random moments: every run resumes to the same weights, metrics and index, bit for bit."""

import multiprocessing
import random
import signal
import sys
from pathlib import Path

import pytest
import torch
from killed_run import MOMENTS, main
from tiny import final_weights, read, what_was_computed

from nucleiseg.models.checkpoint import read as read_checkpoint

KILLS_PER_MOMENT = 5
FORK = multiprocessing.get_context("fork") if sys.platform == "linux" else multiprocessing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform != "linux", reason="forks: what was imported need not be imported again"),
]


def run(folder: Path, moment: str = "none", count: int = 1, seconds: float = 0.0) -> int:
    """Start or resume the run in a process of its own; return its exit code."""
    process = FORK.Process(target=main, args=(folder, moment, count, seconds))
    process.start()
    process.join(120)
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(folder) == 0
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_runs_resume_to_the_same_bits(undisturbed: Path, tmp_path: Path, moment: str) -> None:
    """Five kills for each of six kinds of moment; some a few milliseconds after it."""
    chance = random.Random(moment)
    killed = attempts = 0
    while killed < KILLS_PER_MOMENT:
        folder = tmp_path / str(attempts // 2)  # some runs are killed twice before they end
        attempts += 1
        seconds = chance.choice([0.0, chance.uniform(0, 0.03)])
        code = run(folder, moment, chance.randint(1, 2), seconds)
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
    for folder in tmp_path.iterdir():
        assert run(folder) == 0
        assert_same(folder, undisturbed)


def assert_same(folder: Path, expected: Path) -> None:
    assert what_was_computed(folder) == what_was_computed(expected)
    weights, others = final_weights(folder), final_weights(expected)
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in others)
    names = {path.name for path in (expected / "checkpoints").iterdir()}
    assert {path.name for path in (folder / "checkpoints").iterdir()} == names
    assert not list(folder.rglob(".*.part*"))
    for row, same in zip(read(folder / "index.csv"), read(expected / "index.csv"), strict=True):
        assert {**row, "time": ""} == {**same, "time": ""}
        (state, metadata), (other, known) = (read_checkpoint(at / row["path"]) for at in (folder, expected))
        assert metadata == known
        assert all(torch.equal(state[name], other[name]) for name in other)
