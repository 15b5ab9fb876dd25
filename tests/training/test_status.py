"""What `status.json` says of ranks that fail, and of a run that goes on elsewhere."""

import errno
import json
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nucleiseg.errors import InputError
from nucleiseg.training.callbacks import status as status_module
from nucleiseg.training.callbacks.status import Status

MODULE = SimpleNamespace(device=torch.device("cpu"))
CLOSED = RuntimeError("Connection closed by peer")


def rank(number: int, *, terminated: bool = False) -> Any:  # noqa: ANN401
    """What a callback asks a trainer of this rank."""
    return SimpleNamespace(is_global_zero=number == 0, received_sigterm=terminated)


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "status.json").read_text())


def two_ranks(folder: Path) -> list[Status]:
    """Both ranks of a run that has begun."""
    ranks = [Status(folder, of=10, every=1) for _ in range(2)]
    for number, status in enumerate(ranks):
        status.on_train_start(rank(number), MODULE)
    return ranks


def test_the_computer_is_named_beside_the_process(tmp_path: Path) -> None:
    Status(tmp_path, of=10, every=1).write("running")
    assert told(tmp_path)["host"] == platform.node()


def test_the_rank_that_fails_first_is_believed(tmp_path: Path) -> None:
    first, second = two_ranks(tmp_path)
    assert told(tmp_path)["state"] == "running"
    second.on_exception(rank(1), MODULE, InputError("b.png cannot be read."))
    first.on_step_end(rank(0), MODULE, 1)  # it is still at the step before
    first.on_exception(rank(0), MODULE, CLOSED)
    assert (told(tmp_path)["state"], told(tmp_path)["reason"]) == ("failed", "b.png cannot be read.")
    assert told(tmp_path)["device"] == "cpu"
    again = two_ranks(tmp_path)
    assert told(tmp_path)["state"] == "running", "an earlier failure is over"
    again[0].on_exception(rank(0), MODULE, MemoryError("full"))
    again[1].on_exception(rank(1), MODULE, CLOSED)
    assert "memory is not enough (full)" in str(told(tmp_path)["reason"])


def test_a_rank_that_is_torn_along_leaves_an_interruption(tmp_path: Path) -> None:
    first, second = two_ranks(tmp_path)
    second.on_exception(rank(1), MODULE, KeyboardInterrupt())
    second.on_exception(rank(1, terminated=True), MODULE, CLOSED)
    assert told(tmp_path)["state"] == "running"
    first.on_exception(rank(0), MODULE, KeyboardInterrupt())
    second.on_exception(rank(1), MODULE, CLOSED)
    assert told(tmp_path)["state"] == "interrupted"


def test_a_full_disk_does_not_hide_the_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (status, _) = two_ranks(tmp_path)
    monkeypatch.setattr(status_module, "write_json", full)
    status.on_exception(rank(0), MODULE, RuntimeError("killed"))
    assert told(tmp_path)["state"] == "running"


@pytest.mark.parametrize(("device", "is_kept"), [("cpu", True), ("NVIDIA H200", False)])
def test_the_peak_of_an_earlier_session_is_kept_on_the_same_device(tmp_path: Path, device: str, is_kept: bool) -> None:
    (tmp_path / "status.json").write_text(json.dumps({"device": device, "peak_memory_mb": 1e9}))
    status = Status(tmp_path, of=10, every=1, steps=4)
    status.on_train_start(rank(0), MODULE)
    assert (told(tmp_path)["peak_memory_mb"] == 1e9) == is_kept
