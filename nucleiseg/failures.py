"""Explain known failures in sentences: a full disk, too little memory, a killed data worker.

`explained` returns the sentences; `crash_report` writes the traceback of an unexpected error to a file.
"""

import errno
import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from contextlib import suppress
from datetime import datetime
from importlib import metadata
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.files import write_text
from nucleiseg.version import __version__

DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
"""Error numbers of a full disk or an exhausted quota (Windows has no number for the latter)."""

OUT_OF_MEMORY = (
    "out of memory",  # torch.OutOfMemoryError of every device; the drivers' own errors too
    "can't allocate memory",  # torch's allocator on the CPU
    "not enough memory",  # the same on Windows
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "unable to mmap",  # shared memory of the data workers
    "unable to allocate",  # NumPy; torch's shared memory
    "insufficient memory",  # OpenCV
)
"""Lower-case texts in errors about too little memory."""

MEMORY_ADVICE = (
    "Training takes less with a smaller batch, smaller crops or fewer data workers; prediction with a smaller scale."
)

WORKER_LOST = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? (?P<pid>[\d, ]+)\) (?P<how>is killed by signal: [\w ]+|exited unexpectedly)"
)
"""torch's error for a terminated worker, from `torch/utils/data/dataloader.py` and its signal handler."""

WORKER_RAISED = re.compile(
    r"\ACaught (?P<name>\w+) in DataLoader worker process (?P<worker>\d+)\.\n"
    r"Original Traceback .*\n(?:[\w.]+\.)?(?P=name)(?:: (?P<text>.*))?\Z",
    re.DOTALL,
)
"""torch's text for an error raised in a worker, around its traceback."""

ANOMALY = re.compile(r"Function '(?P<operation>\w+)Backward\d*' returned nan values")
"""torch's error of anomaly detection (`trainer.detect_anomaly`)."""


def explained(error: BaseException) -> list[str] | None:
    """Return sentences on the cause and the remedy of an error; None for an unexpected error.

    Args:
        error: raised in this process or by a data worker.
    """
    text = str(error)
    if raised := WORKER_RAISED.match(text.strip()):
        return _explained_in_worker(raised["name"], raised["text"] or "")
    if isinstance(error, InputError):
        return error.problems
    if lost := WORKER_LOST.search(text):
        return [
            f"A data worker (process {lost['pid']}) {lost['how'].strip().rstrip('.')}: the system kills processes when "
            "memory runs out. Use fewer data workers (0: none) or smaller images."
        ]
    if not isinstance(error, OSError) and is_out_of_memory(error):
        return [f"The memory is not enough ({_first_line(text) or 'MemoryError'}). {MEMORY_ADVICE}"]
    if isinstance(error, OSError) and error.strerror:
        return [_about_file(error)]
    if anomaly := ANOMALY.search(text):
        return [
            f"{anomaly['operation']} returned NaN as a gradient; the warning above names its line in the forward pass."
        ]
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error is caused by too little memory of the computer or a GPU."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(known in text for known in OUT_OF_MEMORY)


def in_a_line(error: BaseException) -> str:
    """Return the sentences of an error, or its class and the first line of its text."""
    return " ".join(explained(error) or ()) or f"{type(error).__name__}: {_first_line(str(error))}".removesuffix(": ")


def crash_report(error: BaseException, folder: Path | None = None) -> Path | None:
    """Write an unexpected error with its traceback, the versions and the command line to a new file.

    Args:
        error: what was raised.
        folder: the folder to write to, or a file in it; if it does not exist or cannot be written, the working folder
            is used, then the system's temporary one.

    Returns:
        The file; None if no folder is writable.
    """
    now = datetime.now().astimezone()
    torch = next((found.version for found in metadata.distributions(name="torch")), "unknown")
    lines = [
        f"{now.isoformat(timespec='seconds')}",
        f"nucleiseg {__version__}, PyTorch {torch}, Python {platform.python_version()}, {platform.platform()}",
        shlex.join(sys.argv),
        "",
        "".join(traceback.format_exception(error)),
    ]
    name = f"crash-{now:%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    for place in (*([folder, folder.parent] if folder else []), Path(), Path(tempfile.gettempdir())):
        with suppress(OSError):
            if place.is_dir():
                file = place.absolute() / name
                write_text(file, "\n".join(lines))
                return file
    return None


def _explained_in_worker(name: str, text: str) -> list[str] | None:
    """Return the sentences of an error raised in a worker, of which torch only keeps class and text."""
    if name in ("InputError", "CacheError"):
        return text.splitlines()
    if name == "MemoryError" or is_out_of_memory(RuntimeError(text)):
        return [f"A data worker's memory is not enough ({_first_line(text) or name}). {MEMORY_ADVICE}"]
    if known := re.match(r"\[Errno (\d+)\] ([^:]+)(?:: '(.*)')?", text):
        return [_about_file(OSError(int(known[1]), known[2], known[3]))]
    return None


def _about_file(error: OSError) -> str:
    where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    if error.errno in DISK_FULL:
        return f"{where}{error.strerror}. Free some space there, or write to another disk."
    if error.errno == errno.ENOMEM:
        return f"{where}{error.strerror}. {MEMORY_ADVICE}"
    if error.errno == errno.EMFILE:
        return f"{where}{error.strerror}. Raise the limit of open files (ulimit -n 4096)."
    return f"{where}{error.strerror}; check the path, its permissions and the free space."


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
