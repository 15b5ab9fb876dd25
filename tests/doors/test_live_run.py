"""Who may resume: nobody while the run goes on, everybody at once after it was killed."""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nucleiseg.doors.live_run import refuse_live, writer
from nucleiseg.doors.training import resume
from nucleiseg.errors import InputError

OTHERS = os.getppid()
"""A process that lives, and is not this one."""


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def told(folder: Path, minutes_ago: float = 0, state: str = "running", **more: object) -> str:
    updated = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    (folder / "status.json").write_text(json.dumps({"state": state, "updated": updated.isoformat(), **more}))
    return writer(folder)


def test_on_this_computer_the_process_tells(tmp_path: Path, dead: int) -> None:
    here = platform.node()
    assert told(tmp_path, minutes_ago=99, pid=OTHERS, host=here) == f"process {OTHERS}"
    with pytest.raises(InputError, match=rf"this run goes on \(process {OTHERS}\).*stop it"):
        refuse_live([tmp_path])
    for killed in (dead, os.getpid(), 0):
        assert not told(tmp_path, pid=killed, host=here), "resumed at once"
    refuse_live([tmp_path, tmp_path / "missing"])
    assert not told(tmp_path, state="done", pid=OTHERS, host=here)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are told by /proc")
def test_a_zombie_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # to its end; not reaped
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not told(tmp_path, pid=process.pid, host=platform.node())
    process.communicate()


def test_of_another_computer_only_the_time_tells(tmp_path: Path, dead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    assert f"process {dead} on node7" in told(tmp_path, pid=dead, host="node7")
    assert not told(tmp_path, minutes_ago=11, pid=dead, host="node7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert not told(tmp_path, pid=dead, host="node7"), "the queue has ended it and started this one"


def test_without_a_computer_both_must(tmp_path: Path, dead: int) -> None:
    assert told(tmp_path, pid=OTHERS)
    assert not told(tmp_path, minutes_ago=11, pid=OTHERS)
    assert not told(tmp_path, pid=dead)
    (tmp_path / "status.json").write_text(json.dumps({"state": "running", "updated": "long ago", "pid": OTHERS}))
    assert not writer(tmp_path)


def test_a_run_that_goes_on_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("trainer: {}")
    told(tmp_path, pid=OTHERS, host=platform.node())
    with pytest.raises(InputError, match="this run goes on"):
        resume([f"resume={tmp_path}"])
