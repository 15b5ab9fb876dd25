"""Two real processes (gloo, on the CPU) with averaged weights and early stopping: as one, and stopped by SIGTERM."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from averaged_run import STOPPED_AT
from test_run import assert_same_run, status
from tiny import final_weights, read

from nucleiseg.models.checkpoint import read as read_checkpoint
from nucleiseg.training.run import TERMINATED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.name != "posix", reason="SIGTERM of POSIX systems"),
]


def run(folder: Path, devices: int = 2, batch: int = 1, rank: int = 0, call: int = 0) -> int:
    """Start or resume the run; return the exit code of its first process."""
    script = Path(__file__).with_name("averaged_run.py")
    command = [sys.executable, str(script), str(folder), *map(str, (devices, batch, rank, call))]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, TERMINATED), done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("ranks") / "two"
    assert run(folder) == 0
    return folder


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_two_processes_average_and_stop_as_one(two: Path, tmp_path: Path) -> None:
    """Equal to the bit: a sum of two gradients and its half do not depend on the order, whoever adds them.

    This network computes each image separately. Mask R-CNN does not: the kernel that computes a convolution's weight
    gradient adds up both images at once, in another order than image by image. On two maps of 48 x 48 with 16 channels
    it differs from the sum of the single gradients by 3e-6 of the largest (3x3) and 1e-7 (1x1), while the forward pass
    is equal to the bit. `test_kill.py` therefore compares Mask R-CNNs within tolerances.
    """
    assert run(tmp_path / "one", devices=1, batch=2) == 0
    for folder in (two, tmp_path / "one"):
        assert status(folder) | {"state": "done", "steps": STOPPED_AT, "of": 20} == status(folder)
    rows, expected = read(two / "metrics.csv"), read(tmp_path / "one" / "metrics.csv")
    assert [row["step"] for row in rows] == [str(step) for step in range(1, STOPPED_AT + 1)]
    for row, same in zip(rows, expected, strict=True):
        for column in row.keys() - {"time/step", "time/data", "val/time"}:
            assert row[column] == same[column], (row["step"], column)
    states = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (two, tmp_path / "one")]
    for key in ("state_dict", "current_model_state"):  # the averaged weights, and those that are trained
        for name, weight in states[0][key].items():
            assert torch.equal(weight, states[1][key][name]), (key, name)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("call", [3, 4])
def test_sigterm_ends_both_ranks_and_the_run_resumes_exactly(two: Path, tmp_path: Path, rank: int, call: int) -> None:
    """In a step between two checkpoints, and in one that is validated."""
    folder = tmp_path / "run"
    code = run(folder, rank=rank, call=call)
    assert code == (TERMINATED if rank == 0 else code)
    deadline = time.monotonic() + 300
    pids = [int(path.read_text()) for path in tmp_path.glob("run.pid*")]
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(pids) == 2
    assert not any(map(is_running, pids))
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == call
    assert json.loads((folder / "status.json").read_text())["state"] == "interrupted"
    assert run(folder) == 0
    assert_same_run(folder, two)
    assert final_weights(folder).keys() == final_weights(two).keys()
    for row, same in zip(read(folder / "index.csv"), read(two / "index.csv"), strict=True):
        (state, metadata), (other, known) = (read_checkpoint(at / row["path"]) for at in (folder, two))
        assert {**row, "time": ""} == {**same, "time": ""}
        assert metadata == known
        assert all(torch.equal(state[name], other[name]) for name in other)
