"""Run work in threads ahead of the caller: reading files before the network needs them, writing results after it.

Threads instead of processes: decoding, resizing, rendering and compressing release Python's lock, and threads copy no
data.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def run_ahead(
    function: Callable[[Item], Outcome], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Future[Outcome], None, None]:
    """Call a function on each item in threads, up to `ahead` items before the consumer.

    (`Executor.map` starts all items at once, and so holds all in memory; its `buffersize` needs Python 3.14.)

    When the iterator is closed or the items raise, pending calls are canceled and running ones completed, so that no
    file is left half-written. Use `contextlib.closing` if a `for` loop may not reach its end.

    Args:
        function: called in the threads; its exceptions are raised by the future's `result()`.
        items: consumed in the caller's thread, each before the outcome `ahead` items earlier is yielded, so that work
            in the items' iterator overlaps with the threads.
        threads: maximal number of threads.
        ahead: items started beyond the last yielded one. At most `ahead` + 1 outcomes are in memory.

    Yields:
        The future of each item, in order.
    """
    pool = ThreadPoolExecutor(threads)
    started: deque[Future[Outcome]] = deque()
    try:
        for item in items:
            started.append(pool.submit(function, item))
            if len(started) > ahead:
                yield started.popleft()
        while started:
            yield started.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
