"""Measure time and peak memory: medians of repeated calls, each case in a fresh process."""

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
    """Time and memory of a measured function.

    Attributes:
        seconds: median wall-clock time, including the device's work.
        cpu_seconds: median CPU time of the process, summed over its threads.
        memory_mb: peak memory of the process in MB (10^6 bytes), on a GPU that of its tensors; None where the system
            does not report it.
    """

    seconds: float
    cpu_seconds: float
    memory_mb: float | None


def in_child(function: Callable[[Case], Answer], case: Case) -> Answer:
    """Call a function in a fresh process, so that peak memory (`ru_maxrss`) is not shared between cases.

    The process is spawned, not forked, and shares no memory with this one. Unlike workers of `multiprocessing.Pool`, it
    may start workers, and killing it raises an error here.

    Args:
        function: a function that can be imported by its name.
        case: its argument.
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
    """Time `work(prepare(number))`, excluding the preparation.

    Args:
        work: function to time; its result is discarded.
        repeats: number of measured calls.
        prepare: makes the argument of `work` from the number of the call, warm-up calls included.
        device: synchronized before each reading of the clock.
        warmup: unmeasured calls before, which start threads, select kernels and allocate memory.
    """
    device = torch.device(device)
    clock, cpu = [], []
    for number in range(warmup + repeats):
        given = prepare(number)
        synchronize(device)
        start = time.perf_counter(), time.process_time()
        work(given)
        synchronize(device)
        clock.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return Cost(statistics.median(clock[warmup:]), statistics.median(cpu[warmup:]), peak_memory_mb(device))


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its queued work; do nothing on other devices."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def chosen_device(name: str) -> str:
    """Resolve `auto` to a CUDA GPU if there is one, else the CPU."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
