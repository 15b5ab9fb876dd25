"""Time loading a training sample on one core: a crop of half of each side, resized to 608, saturation, flip, boxes.

    python -m benchmarks.sample_loading                              # 294, 480 and 1,862 nuclei in 1000 x 1000
    python -m benchmarks.sample_loading nuclei=50,5000 stock_repeats=0
    python -m benchmarks.sample_loading data=ROOT                    # the sparsest, the median and the densest image
    python -m benchmarks.sample_loading data=ROOT images=A,B         # these images

Ours reads the sample from the cache and augments its label-map layers. Stock gives Albumentations a list of masks, kept
decoded in memory or (the common case, as they rarely fit) read from one PNG per nucleus. The cost of ours must not grow
with the number of nuclei.
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
from benchmarks.discs import as_sample, sample_discs
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
"""Names of the image and the folder of masks for stock."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        nuclei: number of nuclei of each synthetic image, without `data`.
        size: side of a synthetic image in pixels.
        data: root of a data set for the reader `folders`; empty: synthetic images.
        images: names of its images; empty: the sparsest, the median and the densest.
        repeats: measured calls of ours.
        stock_repeats: measured calls of stock; 0 skips it.
    """

    nuclei: tuple[int, ...] = (294, 480, 1862)
    size: int = 1000
    data: str = ""
    images: tuple[str, ...] = ()
    repeats: int = 100
    stock_repeats: int = 5


@settings
class DiscReader(Reader):
    """Makes synthetic images with exact numbers of nuclei, which are also their names.

    Attributes:
        counts: number of nuclei of each image.
        size: side of each image in pixels.
    """

    counts: tuple[int, ...]
    size: int

    synthetic: ClassVar[bool] = True

    def records(self) -> list[Record]:
        """List the images' names."""
        return [Record(name=str(count)) for count in self.counts]

    def read(self, record: Record) -> Sample:
        """Render an image."""
        return as_sample(sample_discs(int(record.name), self.size), record.name)

    def key(self, record: Record) -> str:
        """Return the parameters of the image."""
        return f"{record.name}x{self.size}"


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes:
        reader: reader of the data set.
        record: the image.
        folder: folder for the decoded image, and for the image and masks as files for stock.
        repeats: measured calls.
    """

    reader: Reader
    record: Record
    folder: Path
    repeats: int


def main(chosen: Options) -> Result:
    """Measure every image in all implementations.

    Raises:
        InputError: for an unknown image.
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
    """Return the images to measure: all synthetic ones; of a data set the named ones, or sparsest, median and densest.

    Raises:
        InputError: for an unknown name.
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
    """Measure one image, each implementation in a fresh process."""
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
    """Time loading from the cache and augmentation, with another crop each time; also return the number of nuclei."""
    _one_thread()
    cache = SampleCache(case.folder)
    summary = cache.prepare(case.reader, case.record)
    return len(summary), measure(lambda seed: RECIPE(cache.load(case.reader, case.record), seed), case.repeats)


def write_masks(case: Case) -> None:
    """Write the image and its masks as PNG files for stock."""
    sample = _sample(case)
    (case.folder / MASKS).mkdir()
    Image.fromarray(sample.image).save(case.folder / IMAGE)
    for number, mask in enumerate(unpack(sample.layers, sample.layer_index)):
        Image.fromarray(255 * mask.astype(np.uint8)).save(case.folder / MASKS / f"{number:05d}.png")


def stock_from_memory(case: Case) -> Cost:
    """Time augmentation of a list of masks in memory, with another crop each time."""
    _one_thread()
    sample = _sample(case)
    masks = [mask.astype(np.uint8) for mask in unpack(sample.layers, sample.layer_index)]
    data = MaskListDataset([np.array(sample.image)], [masks], crop=_crop(sample))
    return measure(lambda _: data[0], case.repeats)


def stock_from_files(case: Case) -> Cost:
    """Time reading the image and each mask and augmenting them, with another crop each time."""
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
