"""Progress of long work: a bar with an ETA on a terminal, a line of text now and then elsewhere."""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

LINE_INTERVAL = 10.0
"""Seconds between two lines where the output is not a terminal."""


def echo(sentence: str) -> None:
    """Print a sentence to standard error at once, so that it stands in a log beside the progress.

    Control characters and bytes that are not text, which names of files may hold, are printed as Python escapes them:
    a terminal would obey the first, and some streams refuse the second.

    Of the processes of a distributed run on one computer, which all come by here, only the first speaks
    (`LOCAL_RANK`, as torchrun and Lightning set it).
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        escaped = (letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1] for letter in sentence)
        print("".join(escaped), file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 07 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 image`, `1,862 nuclei` (many: the plural, where it is not one + s)."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing how far they are.

    Args:
        items: what to go through.
        description: what is being done, as a noun phrase ("Reading masks").
        total: how many items there are; `len(items)` by default.

    Yields:
        The items, unchanged.
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
