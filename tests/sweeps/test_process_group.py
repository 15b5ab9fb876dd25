"""Processes of jobs: told to stop, killed when they do not, and nothing of theirs stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nucleiseg.sweeps import process_group
from nucleiseg.sweeps.process_group import run_process

LEADER = """
import os, pathlib, signal, subprocess, sys, time
sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
pathlib.Path("pid.part").write_text(str(sleeper.pid))
os.rename("pid.part", "pid")
{then}
"""
"""A first rank with a second one."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRACE", "LINGER", "POLL"):
        monkeypatch.setattr(process_group, name, 0.1)


def run(then: str, folder: Path, *, stop: bool = False) -> tuple[int, bool]:
    """Run a leader; `stop`: once it has started the other."""
    command = [sys.executable, "-c", LEADER.replace("{then}", then)]
    return run_process(command, os.environ, folder, is_to_stop=(folder / "pid").exists if stop else bool)


def is_gone(folder: Path) -> bool:
    """Return whether the second process ends within a minute; where nobody reaps it, it stays as a zombie."""
    pid = (folder / "pid").read_text()
    for _ in range(3000):
        shown = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
        if not shown.strip() or shown.strip().startswith("Z"):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("then", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(3)"])
def test_what_a_dead_leader_leaves_is_ended(then: str, tmp_path: Path) -> None:
    code, stopped = run(then, tmp_path)
    assert code in (-9, 3)
    assert not stopped
    assert is_gone(tmp_path)


def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    code, stopped = run("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)", tmp_path, stop=True)
    assert (code, stopped) in [(-9, True), (-15, True)], "the second where it had not yet come to ignore it"
    assert is_gone(tmp_path)


def test_an_error_in_this_process_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> bool:
        if not (tmp_path / "pid").exists():
            return False
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        run_process([sys.executable, "-c", LEADER.replace("{then}", "time.sleep(300)")], os.environ, tmp_path, fail)
    assert is_gone(tmp_path)
