"""Print messages and the progress of long work: a bar on a terminal, otherwise a line every few seconds."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

LINE_INTERVAL = 10.0
"""Seconds between two lines if the output is not a terminal."""


def echo(sentence: str) -> None:
    """Print a sentence to standard error, in a distributed run only on local rank 0 (`LOCAL_RANK`).

    Control characters, which a terminal would interpret, and undecodable bytes of file names, which some streams
    refuse, are escaped.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        escaped = (letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in sentence)
        print("".join(escaped), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Format seconds: `42 s`, `3 min 07 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 image`, `1,862 nuclei`; `many` is an irregular plural."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing progress.

    Args:
        items: to iterate over.
        description: of the work, such as "Reading masks".
        total: number of items; `len(items)` by default.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from _track_on_terminal(items, description, total)
    else:
        yield from _track_in_lines(items, description, total)


def _track_on_terminal(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=description)


def _track_in_lines(items: Iterable[Item], description: str, total: int | None) -> Iterator[Item]:
    start = last = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= LINE_INTERVAL:
            last = now
            rest = f", {duration((total - count) * (now - start) / count)} left" if total else ""
            echo(f"{description}: {count}/{total if total is not None else '?'}{rest}")
