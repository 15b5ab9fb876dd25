"""Thirty SIGKILLs at random moments: every run resumes to the same weights, metrics and index, bit for bit."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from killed_run import MOMENTS
from tiny import final_weights, read, what_was_computed

from nucleiseg.models.checkpoint import read as read_checkpoint

KILLS_PER_RUN = 5

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL"),
]


def run(folder: Path, moment: str = "none", count: int = 1, seconds: float = 0.0) -> int:
    """Start or resume the run; return its exit code."""
    command = [sys.executable, str(Path(__file__).with_name("killed_run.py")), str(folder), moment, str(count)]
    return subprocess.run([*command, str(seconds)], check=False, capture_output=True, timeout=120).returncode


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
    while killed < KILLS_PER_RUN:
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
