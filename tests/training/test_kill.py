"""Runs in processes of their own: killed at random moments, and two that train one network together."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import LOSSES, final_weights, read, what_was_computed

from nucleiseg.models.checkpoint import load
from nucleiseg.run_tables import loss_columns

STEPS = 12
KILLS = 5


def start(
    folder: Path, steps: int = STEPS, workers: int = 0, devices: int = 1, batch: int = 2
) -> subprocess.Popen[bytes]:
    """Start or resume the run in a process of its own; what it says is kept beside its folder."""
    script = Path(__file__).with_name("tiny.py")
    command = [sys.executable, str(script), str(folder), *map(str, (steps, workers, devices, batch))]
    with said_file(folder).open("ab") as said:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)


def said_file(folder: Path) -> Path:
    """Return where the processes of a run say what goes wrong."""
    return folder.with_name(f"{folder.name}.stderr")


def finish(folder: Path, process: subprocess.Popen[bytes]) -> None:
    code = process.wait(timeout=300)
    assert code == 0, said_file(folder).read_text(errors="replace")


def steps_done(folder: Path, process: subprocess.Popen[bytes]) -> int:
    """Return how far this process has come; -1 before its first sign of life."""
    try:
        status = json.loads((folder / "status.json").read_text())
    except FileNotFoundError:
        return -1
    return status["steps"] if status["pid"] == process.pid else -1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finish(folder, start(folder))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_resumed(undisturbed: Path, tmp_path: Path, workers: int) -> None:
    moments = random.Random(workers)
    for kill in range(KILLS):
        process = start(tmp_path, workers=workers)
        goal = 2 * kill + moments.randint(0, 2)
        while steps_done(tmp_path, process) < goal:
            assert process.poll() is None, said_file(tmp_path).read_text(errors="replace")
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 1))  # about two steps, or a checkpoint
        process.kill()
        assert process.wait() == -signal.SIGKILL
    finish(tmp_path, start(tmp_path, workers=workers))
    assert what_was_computed(tmp_path) == what_was_computed(undisturbed)
    weights, expected = final_weights(tmp_path), final_weights(undisturbed)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    for row, same in zip(read(tmp_path / "index.csv"), read(undisturbed / "index.csv"), strict=True):
        assert row["path"] == same["path"]
        network, metadata = load(tmp_path / row["path"])
        as_expected, same_metadata = load(undisturbed / same["path"])
        assert metadata == same_metadata
        for name, value in network.state_dict().items():
            assert torch.equal(value, as_expected.state_dict()[name])


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_processes_train_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    """The same images at the same places of the global batch: the same losses and weights, to the rounding of sums."""
    two, one = tmp_path / "two", tmp_path / "one"
    finish(two, start(two, steps=6, devices=2, batch=1))
    finish(one, start(one, steps=6, devices=1, batch=2))
    rows, expected = read(two / "metrics.csv"), read(one / "metrics.csv")
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    for row, same in zip(rows, expected, strict=True):
        for column in loss_columns("train", LOSSES):
            assert float(row[column]) == pytest.approx(float(same[column]), rel=1e-5), (row["step"], column)
    weights = final_weights(one)
    for name, weight in final_weights(two).items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-4, atol=1e-6, msg=name)
    assert float(rows[-1]["val/loss"]) == pytest.approx(float(expected[-1]["val/loss"]), rel=1e-4)
    assert [row["path"] for row in read(two / "index.csv")] == [row["path"] for row in read(one / "index.csv")]
    assert load(two / "checkpoints" / "last.ckpt")[1].step == 6
    assert json.loads((two / "status.json").read_text())["state"] == "done"
