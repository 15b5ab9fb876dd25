"""Time spent in named parts of running code, on a GPU by events, which do not make it wait."""

import functools
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

Mark = float | torch.cuda.Event
"""A moment: seconds of the clock, or an event in a GPU's stream of work."""


class Stopwatch:
    """Adds up how long each named part takes.

    On a GPU a part lasts from when the device comes to its first kernel until it has done its last.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self._uses_events = torch.device(device).type == "cuda"
        self._spans: dict[str, list[tuple[Mark, Mark]]] = defaultdict(list)
        self._open: dict[str, Mark] = {}

    def start(self, name: str) -> None:
        """Begin a part."""
        self._open[name] = self._mark()

    def stop(self, name: str) -> None:
        """End a part that has begun; otherwise nothing."""
        if name in self._open:
            self._spans[name].append((self._open.pop(name), self._mark()))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time what is done inside."""
        self.start(name)
        try:
            yield
        finally:
            self.stop(name)

    def wrap(self, owner: Any, attribute: str, name: str) -> None:  # noqa: ANN401
        """Time every call of `owner.attribute` from now on, for good: in a process that ends with the measurement.

        Args:
            owner: a module, class or object that looks the function up by this name when it calls it.
            attribute: the function's name there.
            name: the part's name.
        """
        function = getattr(owner, attribute)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            with self.part(name):
                return function(*args, **kwargs)

        setattr(owner, attribute, timed)

    def reset(self) -> None:
        """Forget all parts."""
        self._spans.clear()
        self._open.clear()

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part, all its times together, in the order in which they ended first."""
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
