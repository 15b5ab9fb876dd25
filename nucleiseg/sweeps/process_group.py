"""Run a process with all its descendants, and stop them together."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

GRACE = 60.0
"""Seconds between a signal to stop and SIGKILL."""

LINGER = 5.0
"""Seconds that descendants (ranks, data workers) may outlive the process, to clean up."""

POLL = 0.2
"""Seconds between two checks whether the process has ended or should stop."""

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals of Ctrl-C, of batch systems, and of a closed terminal (which Windows lacks)."""


def run_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    is_to_stop: Callable[[], bool] = bool,
) -> tuple[int, bool]:
    """Run a process until it ends, and forward Ctrl-C and SIGTERM to it.

    On POSIX it leads a new session, whose remaining processes are killed after it, such as the other ranks of a run
    whose first rank was killed.

    Args:
        command: the program and its arguments.
        environment: its environment.
        folder: its working directory; None: this process's.
        is_to_stop: polled; true stops the process as SIGTERM does.

    Returns:
        Its exit code, and whether it received a signal to stop.
    """
    asked: list[int] = []
    with handled(lambda number, _: asked.append(number)):
        process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=sys.platform != "win32")
        try:
            return _wait(process, asked, is_to_stop), bool(asked)
        finally:
            _end(process)


@contextmanager
def handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Handle `STOPS` during the body; outside the main thread, where Python allows no handlers, do nothing.

    Ignored signals stay ignored, as `nohup` requires.
    """
    here = threading.current_thread() is threading.main_thread()
    numbers = [number for number in STOPS if here and signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, before in handlers.items():
            signal.signal(number, before)


def _wait(process: subprocess.Popen[bytes], asked: list[int], is_to_stop: Callable[[], bool]) -> int:
    """Wait for the process, forwarding the signals appended to `asked`; kill it after `GRACE`."""
    passed_on = 0
    deadline = float("inf")
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(POLL)
        if not asked and is_to_stop():
            asked.append(signal.SIGTERM)
        for number in asked[passed_on:]:
            passed_on += 1
            deadline = min(deadline, time.monotonic() + GRACE)
            # Ctrl-C goes to the whole group, as in a terminal; the console of Windows does that itself
            if number != signal.SIGINT:
                process.terminate()
            elif sys.platform != "win32":
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
        if time.monotonic() > deadline:
            _kill(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, if an error interrupted the wait, and the rest of its group."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    deadline = time.monotonic() + LINGER
    while _has_members(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    _kill(process)
    process.wait()


def _has_members(process: subprocess.Popen[bytes]) -> bool:
    """Return whether the process's group has processes left; False on Windows, which has no such groups."""
    if sys.platform == "win32":
        return False
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):  # PermissionError: only zombies are left, on macOS
        return False
    return True


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and, on POSIX, the rest of its group."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
