"""Convert a data set into another layout, as a whole or not at all, and count what the layout cannot hold.

For example:

    convert_data_set(AutoReader(root="MoNuSeg").resolve(), "monuseg_coco", "coco")
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nucleiseg.data.classes import ClassTable, choose_classes
from nucleiseg.data.data_warnings import print_data_warnings
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.cellpose import BESIDE
from nucleiseg.data.readers.images import to_rgb
from nucleiseg.data.readers.listing import IMAGE_SUFFIXES
from nucleiseg.data.readers.pixels import decode_pixels
from nucleiseg.data.readers.resolution import read_mpp
from nucleiseg.errors import InputError, some
from nucleiseg.files import atomic_folder
from nucleiseg.pipelining import run_ahead
from nucleiseg.progress import counted, echo, track
from nucleiseg.structures import Sample
from nucleiseg.writers.data_set_formats import DATA_SET_FORMATS, AnnotatedImage, DataSetFormat, Layout, Losses
from nucleiseg.writers.file_names import safe_paths
from nucleiseg.writers.overlap_rules import SMALLEST_RULE

AT_ONCE = min(os.cpu_count() or 1, 4)
"""Images that are decoded and written at the same time, a thread each: the memory bound."""

LOSSES = {
    "overlapping": (
        ("pixel of masks", "pixels of masks"),
        f"Lost: {{what}}, since a label map holds one nucleus per pixel ({{where}}). {SMALLEST_RULE}",
    ),
    "ignored": (
        ("crowd or ambiguous region", "crowd or ambiguous regions"),
        "Lost: {what}: nuclei in them will count as background ({where}).",
    ),
    "hidden": (("nucleus", "nuclei"), "Lost: {what} without a pixel left in the label map ({where})."),
    "encoded": (
        ("image", "images"),
        "Note: the pixels of {what} are written as 8-bit RGB PNG ({where}); other images are copied as they are.",
    ),
}
"""Kind of loss -> what is lost, one and several, and the sentence with the names of the first images."""

SUFFIX = ".png"
"""Stands for the suffixes of an image's files where its name is made safe."""


@dataclass
class ConversionSummary:
    """The outcome of a conversion.

    Attributes:
        images: number of images that were written.
        nuclei: number of their nuclei, those without a pixel left included.
        losses: kind in `LOSSES` -> number, of all images; `class_names`: classes beside the first.
        failed: image name -> the problems of its files.
    """

    images: int = 0
    nuclei: int = 0
    losses: Counter[str] = field(default_factory=Counter)
    failed: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenImage:
    """An image whose files are written.

    Attributes:
        name: the image's name.
        warnings: of its reader, see `data_warnings.SENTENCES`.
        nuclei: their number.
        losses: kind in `LOSSES` -> number.
        record: what the layout's `assembly` needs of it; None when that is written.
    """

    name: str
    warnings: Mapping[str, int]
    nuclei: int
    losses: Losses
    record: Any

    def __len__(self) -> int:
        """The number of nuclei."""
        return self.nuclei


def convert_data_set(
    reader: Reader, output: str | os.PathLike[str], to: Layout, mpp: float | None = None
) -> ConversionSummary:
    """Write every image of a data set with its nuclei into a new folder, and print what is lost.

    Image files are copied byte by byte where decoding them gives the pixels that the nuclei belong to; others (arrays,
    slides, files with an EXIF orientation) are written as PNG. An image that cannot be read is reported and left out.

    Args:
        reader: of the data set.
        output: the folder to make; it appears when all images are written.
        to: the layout, a name of `DATA_SET_FORMATS`.
        mpp: micrometers per pixel of all images; None takes what each file states.

    Raises:
        InputError: if the layout does not exist, the output does, or no image can be read.
    """
    if to not in DATA_SET_FORMATS:
        raise InputError(f"to is {to!r}; it accepts one of {', '.join(DATA_SET_FORMATS)}.")
    layout = DATA_SET_FORMATS[to]()
    summary = ConversionSummary()
    written: list[WrittenImage] = []
    with atomic_folder(output) as folder:
        records = reader.records()
        names = safe_names([record.name for record in records])
        jobs = [(number, name, record) for number, (name, record) in enumerate(zip(names, records, strict=True), 1)]
        classes = choose_classes(None, reader.find_classes([record for record in records if record.problem is None]))
        write = partial(_write, reader, classes, layout, folder, mpp)
        with (
            layout.assembly(folder, classes.names) as add,
            closing(run_ahead(write, jobs, threads=AT_ONCE, ahead=AT_ONCE)) as futures,
        ):
            for (*_, record), future in zip(jobs, track(futures, "Images", total=len(jobs)), strict=True):
                try:
                    image = future.result()
                except InputError as error:
                    summary.failed[record.name] = error.problems
                    continue
                add(image.record)
                written.append(replace(image, record=None))
        if not written:
            raise InputError([problem for problems in summary.failed.values() for problem in problems])
    summary.images, summary.nuclei = len(written), sum(map(len, written))
    for image in written:
        summary.losses += image.losses
    if not layout.has_classes:
        summary.losses["class_names"] = len(classes.names) - 1
    _print_losses(summary, written, to, classes.names)
    return summary


def safe_names(names: Sequence[str]) -> list[str]:
    """Return stems for the files of images that every file system takes and that no reader takes for masks."""
    free = [f"{name}_image" if name.endswith(BESIDE) else name for name in names]
    return [str(path).removesuffix(SUFFIX).replace("/", "_") for path in safe_paths(free, SUFFIX)]


def _write(
    reader: Reader,
    classes: ClassTable,
    layout: DataSetFormat,
    folder: Path,
    mpp: float | None,
    job: tuple[int, str, Record],
) -> WrittenImage:
    """Decode an image and write its files."""
    number, name, record = job
    sample = classes.apply(reader.read_classified(record))
    file = _file_to_copy(record, sample, getattr(reader, "bits", None))
    if mpp is None and record.image is not None:
        mpp = read_mpp(record.image)
    losses, returned = layout.write_image(folder, AnnotatedImage(number, name, sample, file, classes.names, mpp))
    losses["ignored"] = 0 if layout.has_classes or sample.ignore is None else len(sample.ignore)
    losses["encoded"] = int(file is None and record.image is not None)
    warnings = {kind: count for kind, count in sample.noticed.items() if kind != "ignored"}
    return WrittenImage(sample.name, warnings, len(sample), losses, returned)


def _file_to_copy(record: Record, sample: Sample, bits: int | None) -> Path | None:
    """Return the image's file if it shows what the nuclei were annotated on, upright and whole; else None."""
    if record.image is None or record.image.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    pixels = decode_pixels(record.image)
    if pixels.orientation != 1 or pixels.shape != sample.image.shape[:2]:
        return None
    assert pixels.values is not None
    return record.image if np.array_equal(to_rgb(pixels.values, record.image, bits), sample.image) else None


def _print_losses(
    summary: ConversionSummary, written: Sequence[WrittenImage], to: str, class_names: Sequence[str]
) -> None:
    """Print the warnings of the reader, and a sentence for each kind of loss."""
    print_data_warnings(written)
    for kind, (nouns, sentence) in LOSSES.items():
        if summary.losses[kind]:
            where = some([image.name for image in written if image.losses[kind]])
            echo(sentence.format(what=counted(summary.losses[kind], *nouns), where=where))
    if summary.losses["class_names"]:
        echo(f"Lost: the classes ({some(class_names)}), which the layout {to} does not hold; coco and geojson do.")
