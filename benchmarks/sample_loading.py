"""How long one training sample takes: a crop of half each side, resized to 608, saturation, flip, boxes; on one core.

    python -m benchmarks.sample_loading                              # 294, 480 and 1,862 drawn nuclei in 1000 x 1000
    python -m benchmarks.sample_loading nuclei=50,5000 stock_repeats=0
    python -m benchmarks.sample_loading data=ROOT                    # the sparsest, the median and the densest image
    python -m benchmarks.sample_loading data=ROOT images=A,B         # these images

Ours reads the sample from the cache and augments its planes. Stock gives Albumentations a list with a mask of each
nucleus, which it keeps decoded in memory, or (as most people do, since they do not fit) reads from one PNG each. The
cost of ours must not grow with the number of nuclei.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks import options
from benchmarks.drawing import as_sample, draw_discs
from benchmarks.measure import Cost, in_child, measure
from benchmarks.result import Result, Row, relation
from benchmarks.stock import MaskFilesDataset, MaskListDataset
from nucleiseg.data.cache import SampleCache
from nucleiseg.data.layers import unpack
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.errors import InputError
from nucleiseg.settings import settings
from nucleiseg.structures import Sample
from nucleiseg.transforms.recipe import Recipe

RECIPE = Recipe(saturation=(0.5, 2.0))

IMAGE, MASKS = "image.png", "masks"
"""Where stock finds an image and its masks."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        nuclei: how many to draw into an image each, without `data`.
        size: side of a drawn image in pixels.
        data: folder of a data set as the reader `folders` takes it; empty: draw.
        images: names of images of it; none: the sparsest, the median and the densest.
        repeats: calls of ours that count.
        stock_repeats: calls of stock that count; 0 leaves it out.
    """

    nuclei: tuple[int, ...] = (294, 480, 1862)
    size: int = 1000
    data: str = ""
    images: tuple[str, ...] = ()
    repeats: int = 100
    stock_repeats: int = 5


@settings
class DiscReader(Reader):
    """Renders images with exact numbers of nuclei; their names are these numbers.

    Attributes:
        counts: nuclei of each image.
        size: side of each in pixels.
    """

    counts: tuple[int, ...]
    size: int

    synthetic: ClassVar[bool] = True

    def records(self) -> list[Record]:
        """List the images' names."""
        return [Record(name=str(count)) for count in self.counts]

    def read(self, record: Record) -> Sample:
        """Render an image."""
        return as_sample(draw_discs(int(record.name), self.size), record.name)

    def key(self, record: Record) -> str:
        """Return what the image is rendered from."""
        return f"{record.name}x{self.size}"


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        reader: of the data set.
        record: the image.
        folder: holds it decoded, and as a file for each mask in `masks` where stock reads them.
        repeats: calls that count.
    """

    reader: Reader
    record: Record
    folder: Path
    repeats: int


def main(chosen: Options) -> Result:
    """Measure every image in all implementations.

    Raises:
        InputError: if an image is asked for that does not exist.
    """
    synthetic = DiscReader(counts=chosen.nuclei, size=chosen.size)
    reader: Reader = FoldersReader(root=Path(chosen.data)) if chosen.data else synthetic
    rows: list[Row] = []
    for record in choose(reader, chosen):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(Case(reader, record, Path(folder), chosen.repeats), chosen.stock_repeats))
    for cells in rows:
        cells["growth of ours"] = relation(cells, rows[0], "ours, ms")
    repeats = f"median of {chosen.repeats} (stock {chosen.stock_repeats})"
    return Result("sample_loading", f"One training sample on one core: CPU milliseconds, {repeats}", rows)


def choose(reader: Reader, chosen: Options) -> list[Record]:
    """Return what is to be measured: all drawn images; of a data set the named ones, or the sparsest to densest.

    Raises:
        InputError: if a name is not among the images.
    """
    records = {record.name: record for record in reader.records()}
    if missing := [name for name in chosen.images if name not in records]:
        raise InputError(f"No image named {', '.join(missing)}; there are {', '.join(sorted(records))}.")
    if not chosen.data:
        return list(records.values())
    by_masks = sorted(records.values(), key=lambda record: len(record.masks))
    ends = [by_masks[0], by_masks[len(by_masks) // 2], by_masks[-1]]
    return [records[name] for name in chosen.images] or ends


def row(case: Case, stock_repeats: int) -> Row:
    """Measure one image; each implementation in a process of its own."""
    nuclei, ours = in_child(measure_ours, case)
    cells: Row = {"nuclei": nuclei, "ours, ms": 1000 * ours.cpu_seconds, "ours, MB": ours.memory_mb}
    if stock_repeats:
        case = replace(case, repeats=stock_repeats)
        in_child(write_masks, case)
        for name, function in (("stock from memory", stock_from_memory), ("stock from files", stock_from_files)):
            stock = in_child(function, case)
            cells |= {
                f"{name}, ms": 1000 * stock.cpu_seconds,
                f"{name}, MB": stock.memory_mb,
                f"{name} / ours": stock.cpu_seconds / ours.cpu_seconds,
            }
    return cells


def measure_ours(case: Case) -> tuple[int, Cost]:
    """Load from the cache and augment, another crop each time; also return the number of nuclei."""
    _one_thread()
    cache = SampleCache(case.folder)
    summary = cache.prepare(case.reader, case.record)
    return len(summary), measure(lambda seed: RECIPE(cache.load(case.reader, case.record), seed), case.repeats)


def write_masks(case: Case) -> None:
    """Write image and masks as files for stock: PNG."""
    sample = _sample(case)
    (case.folder / MASKS).mkdir()
    Image.fromarray(sample.image).save(case.folder / IMAGE)
    for number, mask in enumerate(unpack(sample.layers, sample.layer_index)):
        Image.fromarray(255 * mask.astype(np.uint8)).save(case.folder / MASKS / f"{number:05d}.png")


def stock_from_memory(case: Case) -> Cost:
    """Augment a list of masks that is kept in memory, another crop each time."""
    _one_thread()
    sample = _sample(case)
    masks = [mask.astype(np.uint8) for mask in unpack(sample.layers, sample.layer_index)]
    data = MaskListDataset([np.array(sample.image)], [masks], crop=_crop(sample))
    return measure(lambda _: data[0], case.repeats)


def stock_from_files(case: Case) -> Cost:
    """Read the image and each mask, then augment the list, another crop each time."""
    _one_thread()
    files = sorted((case.folder / MASKS).iterdir())
    data = MaskFilesDataset([case.folder / IMAGE], [files], crop=_crop(_sample(case)))
    return measure(lambda _: data[0], case.repeats)


def _sample(case: Case) -> Sample:
    return SampleCache(case.folder).load(case.reader, case.record)


def _crop(sample: Sample) -> int:
    return min(sample.image.shape[:2]) // 2


def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


if __name__ == "__main__":
    options.run(Options, main)
