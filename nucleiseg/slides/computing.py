"""Compute the blocks of a plan: in this process, in several, in a shard of a job array, or on a Dask cluster.

All of them call `blocks.compute_block`, whose result is a file; nothing but its number of windows travels. So whatever
computes a block, and however often it was interrupted, the folder ends with the same bytes.
"""

import multiprocessing
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from uuid import uuid4

import torch

from nucleiseg.errors import InputError
from nucleiseg.progress import echo
from nucleiseg.slides.blocks import SlideJob, block_path, compute_block

RETRIES = 2
"""Times that a block is tried again after the process that computed it died."""

CONNECT_SECONDS = 30
"""Time in which a scheduler has to answer."""


def parse_shard(text: str) -> tuple[int, int]:
    """Return (number, count) of `3/8`.

    Raises:
        ValueError: if it is not of this form, or the number is not from 1 to the count.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(text)
    return int(match[1]), int(match[2])


def checked_shard(text: str) -> str:
    """Return a shard's text as it is; a `ValueError` as `parse_shard`, for settings."""
    parse_shard(text)
    return text


def blocks_of_shard(count: int, shard: str | None) -> list[int]:
    """Return the numbers of the blocks that a shard computes: every n-th, so that all shards get some of each row.

    Examples:
        >>> blocks_of_shard(7, "2/3")
        [1, 4]
    """
    number, shards = (1, 1) if shard is None else parse_shard(shard)
    return list(range(number - 1, count, shards))


def compute_in_processes(job: SlideJob, numbers: Sequence[int], workers: int) -> Iterator[int]:
    """Compute blocks in processes of this computer; yield each number as its file is finished.

    Raises:
        InputError: from `compute_block`, or if processes are killed again and again.
    """
    threads = max(torch.get_num_threads() // workers, 1)
    for _ in range(1 + RETRIES):
        left = [number for number in numbers if not block_path(job.folder, number).exists()]
        context = multiprocessing.get_context("spawn")
        try:
            with ProcessPoolExecutor(workers, context, torch.set_num_threads, (threads,)) as pool:
                futures = {pool.submit(compute_block, job, number): number for number in left}
                try:
                    for future in as_completed(futures):
                        future.result()
                        yield futures[future]
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
            return
        except BrokenProcessPool:
            echo("Warning: a process that computed blocks was killed (too little memory?); its blocks are tried again.")
    raise InputError(
        f"Processes that compute blocks were killed {1 + RETRIES} times: give fewer workers, or smaller tiles. "
        "Finished blocks are kept; the same command continues."
    )


def compute_on_cluster(job: SlideJob, numbers: Iterable[int], scheduler: str) -> Iterator[int]:
    """Compute blocks on a Dask cluster; yield each number as its file is finished.

    Args:
        job: its paths must be those of a file system that all workers see.
        numbers: of the blocks.
        scheduler: the address of the cluster's scheduler, `tcp://HOST:8786`.

    Raises:
        InputError: from `compute_block`, if `distributed` is not installed, or the scheduler or the workers are lost.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed import as_completed as completed
    except ImportError as error:
        raise InputError(
            "scheduler needs the package distributed: install it with pip install 'nucleiseg[dask]'."
        ) from error
    try:
        client = Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(f"scheduler={scheduler} does not answer ({error}): start it, or give its address.") from error
    with client:
        run = uuid4().hex[:8]  # the scheduler remembers results by key: a file that was removed must be computed again
        futures = {
            client.submit(compute_block, job, number, key=f"block-{run}-{number}", retries=RETRIES): number
            for number in numbers
        }
        try:
            for future in completed(list(futures)):
                future.result()
                yield futures[future]
        except KilledWorker as error:
            raise InputError(
                f"Workers of scheduler={scheduler} died over and over ({error}): give them more memory, or smaller "
                "tiles. Finished blocks are kept; the same command continues."
            ) from error
