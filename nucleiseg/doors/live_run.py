"""Whether somebody is writing into a run's folder: a second process would cut its files back under the first."""

import os
import platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.training.run_files import STATUS, read_status

FRESH = timedelta(minutes=10)
"""How long after its last word a run on another computer, whose processes nobody here can see, counts as running."""

RESTARTS = "SLURM_RESTART_COUNT"
"""Set by SLURM in a job that was queued again: the process that wrote the status is gone, wherever it ran."""


def refuse_live(run_dirs: Iterable[Path]) -> None:
    """Refuse folders whose run goes on.

    Raises:
        InputError: naming each, with the process that writes there and what to do.
    """
    problems = [
        f"{run_dir}: this run goes on ({who}), and a second process would spoil its files. Wait for its end or stop "
        f"it, then repeat the command; where nothing runs in it any more, delete its {STATUS} first."
        for run_dir in run_dirs
        if (who := writer(run_dir))
    ]
    if problems:
        raise InputError(problems)


def writer(run_dir: Path) -> str:
    """Return who is writing into the folder, in words; empty where nobody is, as after a run that was killed."""
    status = read_status(run_dir)
    pid, host = status.get("pid"), status.get("host")
    if status.get("state") != "running" or not isinstance(pid, int):
        return ""
    if host is not None and host != platform.node():
        is_live = _is_fresh(status.get("updated")) and os.environ.get(RESTARTS, "0") == "0"
        return f"process {pid} on {host}, last heard of at {status.get('updated')}" if is_live else ""
    # Without a name the process may be anyone's on any computer: only one that spoke of late is believed.
    is_live = _is_alive(pid) and (host is not None or _is_fresh(status.get("updated")))
    return f"process {pid}" if is_live else ""


def _is_fresh(updated: object) -> bool:
    """Return whether a time, as `status.json` has it, is less than `FRESH` ago."""
    try:
        time = datetime.fromisoformat(str(updated))
    except ValueError:
        return False
    return datetime.now(UTC) - (time if time.tzinfo else time.replace(tzinfo=UTC)) < FRESH


def _is_alive(pid: int) -> bool:
    """Return whether another process of this computer has the number; one that only waits to be reaped has not."""
    if pid <= 0 or pid == os.getpid():
        return False
    if sys.platform == "win32":
        return _is_alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(") ")[2][:1] != "Z"
    except OSError:  # no Linux
        return True


if sys.platform == "win32":

    def _is_alive_on_windows(pid: int) -> bool:
        """Ask Windows, where `os.kill(pid, 0)` would end the process."""
        import ctypes

        query_limited_information, still_active = 0x1000, 259
        kernel = ctypes.windll.kernel32
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(query_limited_information, False, pid))
        if not handle:
            return False
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(handle, ctypes.byref(code))
        kernel.CloseHandle(handle)
        return code.value == still_active
