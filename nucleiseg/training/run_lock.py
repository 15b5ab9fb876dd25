"""Lock a run's folder for the time of a training, so that a single process writes it.

    with run_lock(Path("runs/a")):     # InputError if another process holds it
        ...

The system frees the lock when the process ends, even by a kill. A file `.lock` that stays behind is harmless.
"""

import errno
import hashlib
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from nucleiseg.errors import InputError
from nucleiseg.files import cache_folder
from nucleiseg.run_folder import LOCK, STATUS, known_status
from nucleiseg.training.ranks import is_first_rank

PATIENCE = 1.0
"""Seconds to wait for the lock: `active_process` holds it for an instant, a killed process until it has ended."""

FRESH = timedelta(minutes=10)
"""How long after its last sign of life a run on another computer counts as running: some network file systems lock for
each computer alone."""

RESTARTS = "SLURM_RESTART_COUNT"
"""Set by SLURM in a job that was queued again: the process that wrote the status has ended, wherever it ran."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""Error numbers of file systems that have no locks."""


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made where missing; of several ranks the first holds it for all.

    Raises:
        InputError: if another process trains in the folder.
    """
    if not is_first_rank():
        yield
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    refuse_running([run_dir], elsewhere_only=True)
    lock = _acquire(run_dir)
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may have been deleted
            lock.release()


def active_process(run_dir: Path) -> str:
    """Return who trains in the folder, in words; empty if none is training, as after a run that was killed."""
    if elsewhere := _process_elsewhere(run_dir):
        return elsewhere
    if not (run_dir / LOCK).is_file():
        return ""
    try:
        _acquire(run_dir, timeout=0).release()
    except InputError:
        return _process(run_dir)
    return ""


def refuse_running(run_dirs: Iterable[Path], *, elsewhere_only: bool = False) -> None:
    """Refuse folders in which another process trains.

    Args:
        run_dirs: the folders.
        elsewhere_only: look for processes on other computers alone.

    Raises:
        InputError: naming each, with the process and what to do.
    """
    find = _process_elsewhere if elsewhere_only else active_process
    problems = [_refusal(run_dir, who) for run_dir in run_dirs if (who := find(run_dir))]
    if problems:
        raise InputError(problems)


def _acquire(run_dir: Path, timeout: float = PATIENCE) -> FileLock:
    """Lock the folder; where its file system has no locks, a file of the user's cache stands for it."""
    file = run_dir / LOCK
    try:
        try:
            return _locked(file, timeout)
        except (NotImplementedError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            name = hashlib.sha256(os.fsencode(run_dir.resolve())).hexdigest()
            file = cache_folder() / "locks" / f"{name}.lock"
            file.parent.mkdir(parents=True, exist_ok=True)
            return _locked(file, timeout)
    except Timeout as error:
        raise InputError(_refusal(run_dir, _process(run_dir))) from error
    except OSError as error:
        raise InputError(
            f"{file} cannot be locked ({error.strerror}): check the permissions of the folder, or delete that file if "
            "nothing trains there."
        ) from error


def _locked(file: Path, timeout: float) -> FileLock:
    lock = FileLock(file)
    lock.acquire(timeout=timeout, poll_interval=0.02)
    return lock


def _refusal(run_dir: Path, who: str) -> str:
    return (
        f"{run_dir}: a run is training in this folder ({who}), and a second process would spoil its files. Wait for "
        "its end or stop it, then repeat the command; or start a run in another folder (hydra.run.dir=FOLDER)."
    )


def _process(run_dir: Path) -> str:
    """Return the process that holds the lock of a folder, as far as `status.json` knows it."""
    status = known_status(run_dir)
    is_known = status.get("state") == "running" and status.get("host") in (None, platform.node())
    return f"process {status['pid']}" if is_known and "pid" in status else "another process"


def _process_elsewhere(run_dir: Path) -> str:
    """Return the process on another computer that trains in the folder, by what it wrote of late."""
    status = known_status(run_dir)
    host = status.get("host")
    if status.get("state") != "running" or host in (None, platform.node()) or os.environ.get(RESTARTS, "0") != "0":
        return ""
    try:
        updated = datetime.fromisoformat(status.get("updated", ""))
    except ValueError:
        return ""
    if datetime.now(UTC) - (updated if updated.tzinfo else updated.replace(tzinfo=UTC)) > FRESH:
        return ""
    return (
        f"process {status.get('pid')} on {host}, which wrote at {status['updated']}; if it was killed, delete {STATUS}"
    )
