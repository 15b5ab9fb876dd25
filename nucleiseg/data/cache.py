"""Cache decoded samples on the disk: written once, checked at the start of a run, then mapped into memory."""

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nucleiseg.data import array_file
from nucleiseg.data.data_warnings import find_warnings, print_data_warnings
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.errors import InputError
from nucleiseg.files import atomic_path
from nucleiseg.label_maps import measure
from nucleiseg.progress import echo, track
from nucleiseg.structures import IgnoreRegions, NucleusClass, Sample

VERSION = 6
"""Version of a cache file's content: raise it, and the files of older versions are ignored."""

FACTS = ("key", "content", "warnings")
"""Fields of a `Summary` that a cache file keeps as JSON."""

IGNORE = ("layers", "layer_index", "labels")
"""Fields of `IgnoreRegions`, arrays of a cache file with `ignore_` before their names."""


@dataclass(frozen=True)
class Summary:
    """Summary of one image for the data check and the splits, without its pixels.

    Attributes:
        name: the image's name.
        height: rows of the image.
        width: columns of the image.
        boxes: (N, 4) float32 x1, y1, x2, y2, tight around each instance, in pixels of the source image.
        key: the reader's content key of the record (for a fingerprint of the data set).
        content: hexadecimal digest of the decoded image, equal for copies of it under other names and formats.
        warnings: kind in `data_warnings.SENTENCES` -> count.
        labels: (N,) int64 class of each instance, see `Sample`.
        classes: of the labels 1, 2, ...
        zoom: see `Sample`.
    """

    name: str
    height: int
    width: int
    boxes: np.ndarray
    key: str
    content: str = ""
    warnings: Mapping[str, int] = field(default_factory=dict)
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: tuple[NucleusClass, ...] = ()
    zoom: float = 1.0

    def __len__(self) -> int:
        """The number of instances."""
        return len(self.boxes)

    @property
    def class_counts(self) -> dict[NucleusClass, int]:
        """Class -> number of instances."""
        counts = np.bincount(self.labels, minlength=len(self.classes) + 1)[1:]
        return dict(zip(self.classes, counts.tolist(), strict=True))


class CacheError(InputError):
    """The cache folder cannot be written: not a problem of one image, so the next is not tried."""


class SampleCache:
    """A folder of decoded samples, one file an image, named by the content it was made from.

    A changed source has another name, so a stale file is never read, and a run whose data are edited meanwhile
    keeps seeing what it started with. Files are whole or absent, and two processes that make the same one
    at once do no harm. They are not compressed (5 MB for 1000 x 1000 pixels), because then a crop reads only the
    part of the file it needs. The folder may be deleted at any time.

    Args:
        folder: where the files lie (see `files.cache_folder`); None: no files, every sample is read from its source.

    Attributes:
        folder: as given.
        written: how many files this object has made.
    """

    def __init__(self, folder: str | os.PathLike[str] | None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self.written = 0
        self._is_writable = False
        self._checked: dict[tuple[Reader, str], Path] = {}

    def load(self, reader: Reader, record: Record) -> Sample:
        """Return the sample, its arrays mapped from the file, copy on write.

        If `prepare` has checked it, this takes 0.1 ms for 1000 x 1000 pixels, whatever the number of nuclei, and
        0.2 ms with the copy of a crop of 500 x 500 (one CPU core, file in the system's memory). A record that was
        not prepared is compared with its source each time; a file that has vanished or been damaged since is made
        again.

        Raises:
            InputError: if the source has a problem.
        """
        if self.folder is None:
            return reader.read_classified(record)
        checked = self._checked.get((reader, record.name))
        stored = _read_stored(checked) if checked else None
        return (stored or self._current(reader, record)[0])[0]

    def prepare(self, reader: Reader, record: Record) -> Summary:
        """Check the cached sample against its source, make it where it is missing or stale, and summarize it.

        From then on `load` on this object trusts the file (a spawned worker gets that knowledge with the object).

        Raises:
            InputError: if the source has a problem, or the cache cannot be written.
        """
        if record.problem is not None:
            raise InputError(record.problem)
        if self.folder is None:
            return _summarize(reader.read_classified(record), reader.key(record))
        (_, summary), path = self._current(reader, record)
        self._checked[reader, record.name] = path
        return summary

    def _current(self, reader: Reader, record: Record) -> tuple[tuple[Sample, Summary], Path]:
        """Return what the source of `record` holds now, from the cache if that has it, and the cache's file."""
        key = reader.key(record)
        assert self.folder is not None
        identity = f"{VERSION}\0{type(reader).__qualname__}\0{record.name}\0{key}"
        path = self.folder / f"{hashlib.sha256(identity.encode(errors='surrogateescape')).hexdigest()[:40]}.sample"
        stored = _read_stored(path, verify=True)
        if stored is None:
            self._refuse_unwritable()
            sample = reader.read_classified(record)
            if reader.key(record) != key:
                raise InputError(f"The files of image {record.name} changed while they were read: start again.")
            summary = _summarize(sample, key)
            _write_stored(path, sample, summary)
            self.written += 1
            stored = sample, summary
        return stored, path

    def _refuse_unwritable(self) -> None:
        """Try the folder before the first image is decoded; one that is complete may be read-only."""
        assert self.folder is not None
        if self._is_writable:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                self._is_writable = True
        except OSError as error:
            raise _unwritable(self.folder, error) from error


def load_all(reader: Reader, cache: SampleCache, records: Sequence[Record] | None = None) -> list[Summary]:
    """Prepare every record of a data set, with a progress bar, and report all problems together.

    Warnings about the data are printed, a sentence a kind (see `data_warnings`).

    Args:
        reader: the data set.
        cache: where the decoded samples go; `cache.load` is fast afterwards.
        records: what `reader.records()` has listed; None lists here.

    Returns:
        A summary of each image, in the order of the records.

    Raises:
        InputError: one, with a sentence for each problem found in any image; or if no image has an instance. A
            cache that cannot be written ends it at once.
    """
    summaries, problems = [], []
    for record in track(reader.records() if records is None else records, "Reading images and masks"):
        try:
            summaries.append(cache.prepare(reader, record))
        except CacheError:
            raise
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    if not any(len(summary) for summary in summaries):
        images = "The only image has no" if len(summaries) == 1 else f"None of the {len(summaries)} images has an"
        raise InputError(f"{images} instance: no mask has a pixel.")
    if cache.written:
        echo(f"The decoded images lie in {cache.folder} for the next run; the folder may be deleted at any time.")
    print_data_warnings(summaries)
    return summaries


def _summarize(sample: Sample, key: str) -> Summary:
    height, width = sample.image.shape[:2]
    _, boxes, areas = measure(sample.layers)  # in the order of the instances, whose values ascend
    return Summary(
        sample.name,
        height,
        width,
        boxes,
        key=key,
        content=hashlib.sha256(f"{height} {width} ".encode() + sample.image.tobytes()).hexdigest()[:32],
        warnings=find_warnings(sample, boxes, areas),
        labels=sample.labels,
        classes=sample.classes,
        zoom=sample.zoom,
    )


def _write_stored(path: Path, sample: Sample, summary: Summary) -> None:
    arrays = {
        "image": sample.image,
        "layers": sample.layers,
        "layer_index": sample.layer_index,
        "labels": sample.labels,
        "boxes": summary.boxes,
    }
    if sample.ignore is not None:
        arrays |= {f"ignore_{name}": getattr(sample.ignore, name) for name in IGNORE}
    try:
        with atomic_path(path) as temporary:
            classes = [(item.name, item.number, item.color) for item in sample.classes]
            facts = {"name": sample.name, "noticed": dict(sample.noticed), "classes": classes, "zoom": sample.zoom}
            array_file.write(temporary, arrays, facts | {key: getattr(summary, key) for key in FACTS})
    except OSError as error:
        if isinstance(error, PermissionError) and path.exists():
            return  # Windows does not replace a file that another process has mapped; its content is the same
        raise _unwritable(path.parent, error) from error


def _unwritable(folder: Path, error: OSError) -> CacheError:
    return CacheError(
        f"The cache folder {folder} cannot be written ({error.strerror}): set cache_dir, or the environment "
        f"variable NUCLEISEG_CACHE, to a folder with free space."
    )


def _read_stored(path: Path, verify: bool = False) -> tuple[Sample, Summary] | None:
    """Return what a cache file holds; None if it is missing or damaged."""
    try:
        arrays, facts = array_file.read(path, verify)
        boxes = arrays.pop("boxes")
        ignore = (
            IgnoreRegions(*(arrays.pop(f"ignore_{name}") for name in IGNORE)) if "ignore_labels" in arrays else None
        )
        classes = tuple(
            NucleusClass(name, number, None if color is None else (color[0], color[1], color[2]))
            for name, number, color in facts["classes"]
        )
        zoom = facts.get("zoom", 1.0)
        sample = Sample(facts["name"], **arrays, noticed=facts["noticed"], ignore=ignore, classes=classes, zoom=zoom)
        height, width = sample.image.shape[:2]
        stored = {key: facts[key] for key in FACTS}
        return sample, Summary(
            sample.name, height, width, boxes, **stored, labels=sample.labels, classes=classes, zoom=zoom
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
