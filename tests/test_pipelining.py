"""Order, bound and end of work that runs ahead in threads; and that it does run ahead."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.pipelining import run_ahead

PATIENCE = 10.0
"""Seconds after which a thread that should have met another gives up, so that a defect fails instead of hanging."""


@settings(max_examples=30, deadline=None)
@given(
    items=st.lists(st.integers(), max_size=12), threads=st.integers(1, 4), ahead=st.integers(0, 15), slow=st.booleans()
)
def test_outcomes_are_those_of_a_loop_in_its_order(items: list[int], threads: int, ahead: int, slow: bool) -> None:
    def square(item: int) -> int:
        time.sleep(0.001 * (item % 3) * slow)  # later items are done before earlier ones
        return item**2

    futures = run_ahead(square, items, threads=threads, ahead=ahead)
    assert [future.result() for future in futures] == [item**2 for item in items]


def test_the_caller_and_the_threads_work_at_the_same_time() -> None:
    read, used = threading.Event(), threading.Event()

    def read_file(item: int) -> bool:
        if item == 0:
            return True
        read.set()
        return used.wait(PATIENCE)

    with closing(run_ahead(read_file, range(2), threads=1, ahead=1)) as futures:
        assert next(futures).result()
        assert read.wait(PATIENCE)  # of the second, while the first is used here
        used.set()
        assert next(futures).result()


def test_items_are_made_while_earlier_ones_are_worked_on() -> None:
    made = threading.Event()

    def make() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    outcomes = [future.result() for future in run_ahead(lambda _: made.wait(PATIENCE), make(), threads=1, ahead=1)]
    assert outcomes == [True, True]


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_no_more_than_so_many_are_started_beyond_the_one_in_use(ahead: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    for number, future in enumerate(run_ahead(lambda item: item, items(), threads=2, ahead=ahead)):
        assert future.result() == number
        assert len(taken) == min(number + 1 + ahead, 10)


def test_an_error_is_raised_where_its_outcome_is_taken_and_the_others_are_done() -> None:
    def invert(item: int) -> float:
        return 1 / item

    outcomes = []
    for future in run_ahead(invert, [1, 0, 2], threads=2, ahead=2):
        try:
            outcomes.append(future.result())
        except ZeroDivisionError:
            outcomes.append(-1)
    assert outcomes == [1, -1, 0.5]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_after_an_interruption_nothing_is_started_and_what_runs_is_finished(error: type[BaseException]) -> None:
    running, release = threading.Event(), threading.Event()
    started, finished = [], []

    def write(item: int) -> None:
        started.append(item)
        running.set()
        assert release.wait(PATIENCE)
        finished.append(item)

    def network() -> Iterator[int]:
        yield from range(5)
        assert running.wait(PATIENCE)
        release.set()
        raise error

    with pytest.raises(error), closing(run_ahead(write, network(), threads=1, ahead=5)) as futures:
        list(futures)
    assert finished == started  # whole, when the exception arrives
    before = threading.active_count()
    time.sleep(0.02)
    assert started == finished
    assert threading.active_count() == before


def test_items_that_wait_are_not_started_once_the_iterator_is_closed() -> None:
    release, running = threading.Event(), threading.Event()
    started = []

    def write(item: int) -> None:
        started.append(item)
        running.set()
        assert release.wait(PATIENCE)

    futures = run_ahead(write, range(9), threads=1, ahead=4)
    first = next(futures)
    assert running.wait(PATIENCE)
    threading.Timer(0.05, release.set).start()  # the first one still runs when the iterator is closed
    futures.close()
    assert first.done()
    assert started == [0]
