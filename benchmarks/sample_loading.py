"""How long one training sample takes: read from the cache, crop, resize, saturation, flip, boxes; on one core.

    python -m benchmarks.sample_loading                          # images drawn from a seed
    python -m benchmarks.sample_loading data=ROOT                # the sparsest, the median and the densest image there
    python -m benchmarks.sample_loading data=ROOT images=A,B     # these images

The cost must not grow with the number of nuclei.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import torch
from rich.console import Console
from rich.table import Table

from nucleiseg.data.cache import SampleCache, Summary, load_all
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.errors import InputError
from nucleiseg.transforms.recipe import Recipe

REPEATS = 100
RECIPE = Recipe(saturation=(0.5, 2.0))


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table.

    Args:
        arguments: `key=value` words as on the command line.
    """
    options = dict(argument.partition("=")[::2] for argument in arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    reader: Reader = FoldersReader(options["data"]) if "data" in options else DemoReader(images=6, size=1000)
    with tempfile.TemporaryDirectory() as folder:
        cache = SampleCache(Path(folder))
        summaries = choose(load_all(reader, cache), options.get("images"))
        records = {record.name: record for record in reader.records()}
        rows = [(summary, measure(reader, records[summary.name], cache)) for summary in summaries]
        Console(width=100).print(as_table(rows))


def choose(summaries: list[Summary], names: str | None) -> list[Summary]:
    """Return the named images (separated by commas), or the sparsest, the median and the densest.

    Raises:
        InputError: if a name is not among the images.
    """
    by_count = sorted(summaries, key=len)
    if names is None:
        return [by_count[0], by_count[len(by_count) // 2], by_count[-1]]
    known = {summary.name: summary for summary in summaries}
    wanted = names.split(",")
    if missing := [name for name in wanted if name not in known]:
        raise InputError(f"No image named {', '.join(missing)}; there are {', '.join(sorted(known))}.")
    return [known[name] for name in wanted]


def measure(reader: Reader, record: Record, cache: SampleCache) -> tuple[float, float, float]:
    """Return median milliseconds of reading, of the recipe, and of both; another crop each time."""
    sample = cache.load(reader, record)
    reading = median_milliseconds(lambda _: cache.load(reader, record))
    augmenting = median_milliseconds(lambda seed: RECIPE(sample, seed))
    return reading, augmenting, median_milliseconds(lambda seed: RECIPE(cache.load(reader, record), seed))


def median_milliseconds(work: Callable[[int], object]) -> float:
    """Return the median CPU time of `work(0)`, `work(1)`, ... after a first call that is not counted.

    CPU time of this process, so that other programs on the machine do not matter.
    """
    work(0)
    times = []
    for seed in range(REPEATS):
        start = time.process_time()
        work(seed)
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def as_table(rows: list[tuple[Summary, tuple[float, float, float]]]) -> Table:
    """Return the measurements as a table; the last column relates each image to the first."""
    table = Table(title=f"One training sample: CPU milliseconds, median of {REPEATS}")
    for column in ("image", "nuclei", "read", "augment", "in all", "relative"):
        table.add_column(column, justify="left" if column == "image" else "right")
    first = rows[0][1][2]
    for summary, times in rows:
        cells = [f"{milliseconds:.1f}" for milliseconds in times]
        table.add_row(summary.name, f"{len(summary):,}", *cells, f"{times[2] / first:.2f}")
    return table


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
