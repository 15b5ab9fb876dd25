"""Accumulate the time of named parts of running code, on a GPU by events, without synchronization."""

import functools
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Mark = float | torch.cuda.Event
"""A point in time: seconds of the clock, or an event in a GPU stream."""


class Stopwatch:
    """Accumulates the time of each named part.

    On a GPU, a part lasts from the start of its first kernel to the end of its last.

    Args:
        device: device of the measured work.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._uses_events = torch.device(device).type == "cuda"
        self._spans: dict[str, list[tuple[Mark, Mark]]] = defaultdict(list)
        self._open: dict[str, Mark] = {}

    def start(self, name: str) -> None:
        """Start a part."""
        self._open[name] = self._mark()

    def stop(self, name: str) -> None:
        """Stop a part, if it was started."""
        if name in self._open:
            self._spans[name].append((self._open.pop(name), self._mark()))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the body of a `with` statement."""
        self.start(name)
        try:
            yield
        finally:
            self.stop(name)

    def wrap(self, owner: Any, attribute: str, name: str) -> None:  # noqa: ANN401
        """Replace `owner.attribute` by a timed version for the rest of the process.

        Args:
            owner: module, class or object that looks the function up by this name at each call.
            attribute: name of the function.
            name: name of the part.
        """
        function = getattr(owner, attribute)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)

    def reset(self) -> None:
        """Discard all parts."""
        self._spans.clear()
        self._open.clear()

    def seconds(self) -> dict[str, float]:
        """Return the total seconds of each part, in the order in which they first ended."""
        if self._uses_events:
            torch.cuda.synchronize()
        return {name: sum(_span(*marks) for marks in spans) for name, spans in self._spans.items()}

    def _mark(self) -> Mark:
        if not self._uses_events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def _span(start: Mark, end: Mark) -> float:
    if isinstance(start, torch.cuda.Event) and isinstance(end, torch.cuda.Event):
        return start.elapsed_time(end) / 1000
    assert isinstance(start, float)
    assert isinstance(end, float)
    return end - start
