"""Medians of several, each case in a process of its own so that its peak of memory is its own."""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple, TypeVar

import torch

from nucleiseg.devices import peak_memory_mb

Case = TypeVar("Case")
Answer = TypeVar("Answer")


class Cost(NamedTuple):
    """What one piece of work takes.

    Attributes:
        seconds: median by the clock, the device's work included.
        cpu_seconds: median CPU time of the process, all threads together.
        memory_mb: the process's peak in MB (10^6 bytes), on a GPU that of its tensors; None where the system does not
            tell.
    """

    seconds: float
    cpu_seconds: float
    memory_mb: float | None


def in_child(function: Callable[[Case], Answer], case: Case) -> Answer:
    """Call a module's function in a fresh process, so that its peak of memory (`ru_maxrss`) is its own.

    The process is spawned, not forked: it has nothing of this one but the libraries' code. It may have workers of its
    own (those of `multiprocessing.Pool` may not), and if it is killed, that is an error here.

    Args:
        function: importable by its name.
        case: its only argument.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, case).result()


def measure(
    work: Callable[[Any], object],
    repeats: int,
    *,
    prepare: Callable[[int], Any] = int,
    device: str | torch.device = "cpu",
    warmup: int = 1,
) -> Cost:
    """Time `work(prepare(number))`, without its preparation.

    Args:
        work: what to time; its result is dropped at once.
        repeats: calls that count.
        prepare: makes what the work is given; the number counts up, first through the calls that do not count.
        device: waited for before each reading of the clock.
        warmup: calls before, which make what later ones find: threads, kernels chosen by trial, memory.
    """
    device = torch.device(device)
    clock, cpu = [], []
    for number in range(warmup + repeats):
        given = prepare(number)
        synchronise(device)
        start = time.perf_counter(), time.process_time()
        work(given)
        synchronise(device)
        clock.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return Cost(statistics.median(clock[warmup:]), statistics.median(cpu[warmup:]), peak_memory_mb(device))


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked to; nothing to wait for elsewhere."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def chosen_device(name: str) -> str:
    """Return the device that `auto` stands for: a CUDA GPU where there is one, else the CPU."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
