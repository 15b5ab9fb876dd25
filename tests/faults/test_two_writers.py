"""One process trains in a run's folder at a time; a kill frees it at once, and what it left behind is no obstacle."""

import errno
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tiny import train_tiny

from nucleiseg.cli.resume import resume
from nucleiseg.cli.train import train
from nucleiseg.errors import InputError
from nucleiseg.training import run_lock
from nucleiseg.training.run_lock import active_process, refuse_running

HOLDER = """
import sys, time
from pathlib import Path
from nucleiseg.training.run_lock import _acquire
lock = _acquire(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(300)
"""
# not `run_lock`, which looks for its rank in Lightning: seconds of imports


@contextmanager
def held(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Hold the lock of a folder in another process."""
    folder.mkdir(exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "PATIENCE", 0.1)


def test_the_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        (tmp_path / "status.json").write_text(
            json.dumps({"state": "running", "pid": process.pid, "host": platform.node()})
        )
        before = sorted(path.name for path in tmp_path.iterdir())
        with pytest.raises(InputError, match=rf"a run is training in this folder \(process {process.pid}\)"):
            train({"trainer": {"max_steps": 1}}, tmp_path)
        with pytest.raises(InputError, match="second process would spoil"):
            refuse_running([tmp_path, tmp_path / "missing"])
        assert sorted(path.name for path in tmp_path.iterdir()) == before
        assert json.loads((tmp_path / "status.json").read_text())["state"] == "running", "it is not ours to fail"
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        process.wait()
        assert not active_process(tmp_path)
        with run_lock.run_lock(tmp_path):
            pass


def test_a_resume_beside_a_run_is_refused(tmp_path: Path) -> None:
    groups = ("data", "aug", "model", "optim", "trainer", "checkpoint", "validation")
    (tmp_path / "config.yaml").write_text("seed: 0\n" + "".join(f"{group}: {{max_steps: 1}}\n" for group in groups))
    with held(tmp_path), pytest.raises(InputError, match=r"a run is training in this folder \(another process\)"):
        resume([f"resume={tmp_path}"])


def test_a_lock_file_that_was_left_behind_means_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("left by somebody")
    assert not active_process(tmp_path)
    with run_lock.run_lock(tmp_path):
        pass
    train_tiny(tmp_path, 2)


def test_other_ranks_share_the_lock_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "is_first_rank", lambda: False)
    with held(tmp_path), run_lock.run_lock(tmp_path):
        pass


def test_a_lock_moves_with_its_folder(tmp_path: Path) -> None:
    with held(tmp_path / "old"):
        (tmp_path / "old").rename(tmp_path / "new")
        with pytest.raises(InputError, match="new: a run is training"), run_lock.run_lock(tmp_path / "new"):
            pass
    with run_lock.run_lock(tmp_path / "old"):
        pass


def test_a_file_system_without_locks_locks_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUCLEISEG_CACHE", str(tmp_path / "cache"))
    locked = run_lock._locked

    def unsupported(file: Path, timeout: float) -> object:
        if file.name == ".lock":
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        return locked(file, timeout)

    monkeypatch.setattr(run_lock, "_locked", unsupported)
    with run_lock.run_lock(tmp_path / "run"):
        assert len(list((tmp_path / "cache" / "locks").iterdir())) == 1


def test_a_lock_that_may_not_be_taken_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(file: Path, timeout: float) -> object:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    monkeypatch.setattr(run_lock, "_locked", denied)
    with pytest.raises(InputError, match=r"\.lock cannot be locked \(Permission denied\)"), run_lock.run_lock(tmp_path):
        pass


@pytest.mark.parametrize(
    ("minutes", "restarts", "is_refused"), [(1, "0", True), (11, "0", False), (1, "1", False)], ids=str
)
def test_of_another_computer_the_time_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int, restarts: str, is_refused: bool
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    updated = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    status = {"state": "running", "pid": 7, "host": "node7", "updated": updated}
    (tmp_path / "status.json").write_text(json.dumps(status))
    assert ("process 7 on node7" in active_process(tmp_path)) == is_refused
