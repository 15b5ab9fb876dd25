"""Results of a benchmark: rows with date and machine, as Markdown and as JSON."""

import datetime
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from nucleiseg.files import write_json

Value = str | float | int | None
Row = dict[str, Value]

PACKAGES = ("nucleiseg", "torch", "torchvision", "albumentations", "opencv-python-headless", "pycocotools", "numpy")
"""Packages whose versions affect the figures."""


@dataclass(frozen=True)
class Result:
    """Table of one run of a benchmark.

    Attributes:
        name: name of the program, `python -m benchmarks.NAME`.
        title: description of the measurement, one line.
        rows: rows with the same keys, the columns with their units.
    """

    name: str
    title: str
    rows: Sequence[Row]

    def to_dict(self, words: Sequence[str] = ()) -> dict[str, Any]:
        """Return the contents of the JSON file: the result with its command, date and machine.

        Args:
            words: `key=value` arguments of the program.
        """
        now = datetime.datetime.now().astimezone()
        return {
            **asdict(self),
            "command": " ".join(["python", "-m", f"benchmarks.{self.name}", *words]),
            "date": now.isoformat(timespec="seconds"),
            "machine": machine(),
        }


def machine() -> dict[str, Value]:
    """Describe the machine: processor, memory, GPU, system, versions."""
    return {
        "processor": _processor(),
        "cores": _cores(),
        "memory_gb": _memory_gb(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


@cache
def _processor() -> str:
    """Return the processor's name, on Linux from /proc/cpuinfo."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {torch.backends.cpu.get_cpu_capability()}" if names else platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float | None:
    """Return the machine's memory in 10^9 bytes; None if the system does not report it (Windows)."""
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def markdown(result: Result) -> str:
    """Format the table as Markdown."""
    columns = list(result.rows[0]) if result.rows else []
    numeric = {column: any(isinstance(row[column], int | float) for row in result.rows) for column in columns}
    lines = [
        result.title,
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if numeric[column] else "---" for column in columns) + "|",
        *("| " + " | ".join(shown(row[column]) for column in columns) + " |" for row in result.rows),
    ]
    return "\n".join(lines)


def shown(value: Value) -> str:
    """Format a cell: commas between thousands, else three significant digits."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def relation(row: Row, other: Row | None, column: str) -> float | None:
    """Return the ratio of two rows in a column; None if either value is missing."""
    number, base = row.get(column), other and other.get(column)
    return number / base if isinstance(number, int | float) and isinstance(base, int | float) else None


def publish(result: Result, words: Sequence[str] = (), path: str | None = None) -> None:
    """Print the table; print the JSON in one line or write it to a file.

    Args:
        result: the result to publish.
        words: `key=value` arguments of the program.
        path: file for the JSON; None prints it.
    """
    print(markdown(result), end="\n\n", flush=True)
    if path is None:
        print(json.dumps(result.to_dict(words)))
    else:
        write_json(path, result.to_dict(words))
