"""Two runs that start at once on one cache: both train as if alone, and the cache is whole."""

import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
import tiny
import torch
from tiny import SIDE, what_was_computed

from nucleiseg.data.cache import SampleCache
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.data.readers.folders import FoldersReader

RUNS, IMAGES = 2, 8


def train_on_folders(root: Path, cache: Path | None, run: Path, barrier: Barrier | None) -> None:
    """Train on images in folders, in a process of its own, as soon as the other runs are ready too."""
    make_data = tiny.make_data

    def make_cached(*arguments: object, **keys: object) -> NucleiDataModule:
        data = make_data(*arguments, **keys)  # type: ignore[arg-type]
        data.reader, data.cache = FoldersReader(root=root), SampleCache(cache)
        if barrier:
            barrier.wait(120)
        return data

    torch.set_num_threads(1)
    tiny.make_data = make_cached
    tiny.train_tiny(run)


@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="forks: what was imported need not be imported again")
def test_two_runs_make_one_cache_at_once(tmp_path: Path) -> None:
    root, cache = tmp_path / "images", tmp_path / "cache"
    write_folders(DemoReader(images=IMAGES, size=SIDE, seed=1), root)
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(RUNS)
    runs = [tmp_path / f"run_{number}" for number in range(RUNS)]
    keys = [(root, cache, run, barrier) for run in runs] + [(root, None, tmp_path / "alone", None)]
    processes = [context.Process(target=train_on_folders, args=each) for each in keys]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * len(keys)
    for run in runs:
        assert what_was_computed(run) == what_was_computed(tmp_path / "alone")
    names = [path.name for path in cache.iterdir()]
    assert len(names) == IMAGES
    assert all(name.endswith(".sample") and not name.startswith(".") for name in names)
