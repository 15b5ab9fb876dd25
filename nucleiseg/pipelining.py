"""Work in threads beside the caller's own: files are read ahead of the network, and written behind it.

Threads, not processes: decoding, resizing, drawing and compressing happen in libraries that release Python's lock, and
nothing is copied between processes.
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
    """Call a function on each item in threads, a few items ahead of whoever takes the outcomes.

    (The executor's own `map` starts all items at once, so that all of them would be in memory; its `buffersize` came
    with Python 3.14.)

    What the iterator is left with when it is closed, or when the items end in an exception, is not started any more;
    what runs is waited for, so that it leaves no half-written file. Close it where a `for` loop may not get to its end
    (`contextlib.closing`).

    Args:
        function: called in the threads; an exception that it raises is raised by its future's `result()`.
        items: taken one by one in the caller's thread, each before the outcome `ahead` items earlier is yielded. So
            the caller's own work, if the items are made by it, runs beside the threads.
        threads: at work at most.
        ahead: items that are started, or done, beyond the one whose future was yielded last. The memory bound: no more
            than `ahead` + 1 outcomes exist that the caller has not had, or has just been given.

    Yields:
        The future of each item, in their order.
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
