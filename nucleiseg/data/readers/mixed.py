"""Several data sets in one training, each with its own layout, resolution and split, sampled by ratios.

    # a.yaml                              # b.yaml
    reader: coco                          reader: folders
    root: tissue                          root: /data/cells
    mpp: 0.25                             mpp: 0.5
    val: 0.2                              val: none

A file has the keys of one data set as `conf/data` has them; a relative root starts at its folder. Images are named
`a_NAME`, after their file. With micrometers per pixel, all are shown at one scale: those of 0.5 twice as large as those
of 0.25, which the mixture's own `mpp` makes 1. For example:

    MixedReader(sets=("a.yaml", "b.yaml"), ratios=(2, 1), mpp=0.25)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field

from nucleiseg.data.reader_keys import read_keys
from nucleiseg.data.readers.auto import AutoReader
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.corrections import CorrectionsReader
from nucleiseg.data.readers.formats import FORMATS
from nucleiseg.data.settings import DataSettings, SplitSettings
from nucleiseg.data.splits import Split, split, with_default_group
from nucleiseg.errors import InputError, some
from nucleiseg.settings import Accepts, AsTuple, Mpp, PathText, Problems, settings
from nucleiseg.structures import Sample

if TYPE_CHECKING:
    from nucleiseg.data.cache import Summary

SPLIT_KEYS = tuple(item.name for item in fields(SplitSettings))

SINGLE: dict[str, type[Reader]] = {**FORMATS, "auto": AutoReader, "corrections": CorrectionsReader}
"""The readers of one data set by name."""

OF_ALL = tuple(item.name for item in fields(DataSettings) if item.name not in (*SPLIT_KEYS, "mpp"))
"""Keys of a data set that hold for the whole training, so not for one of several sets."""


@dataclass(frozen=True)
class DataSet:
    """One of several data sets.

    Attributes:
        name: the stem of its file.
        file: the file with its keys.
        reader: reads its images.
        mpp: micrometers per pixel; None: unknown.
        split: the keys of `SplitSettings` that its file has.
    """

    name: str
    file: Path
    reader: Reader
    mpp: float | None
    split: Mapping[str, Any]


@dataclass(frozen=True)
class MixedRecord(Record):
    """An image of one of several sets.

    Attributes:
        source: the image as the reader of its set lists it.
        number: the place of its set among the sets.
    """

    source: Record | None = None
    number: int = 0


@settings
class MixedReader(Reader):
    """Reads the images of several data sets.

    Attributes:
        sets: YAML files with the keys of one data set each.
        ratios: how often images of each set are sampled, in whole numbers; None: all equally often.
        mpp: micrometers per pixel whose scale is that of the training; needed where the sets have theirs.
    """

    sets: Annotated[
        tuple[PathText, ...], AsTuple, Field(min_length=2, max_length=100), Accepts("a list of two or more YAML files")
    ]
    ratios: (
        Annotated[
            tuple[Annotated[int, Field(ge=1, le=1000)], ...],
            AsTuple,
            Accepts("a list of whole numbers from 1 to 1000, one for each of the sets"),
        ]
        | None
    ) = None
    mpp: Mpp | None = None

    def contradictions(self, at: str) -> list[str]:
        """Return a sentence for ratios of another number than the sets, and for files of one name."""
        problems = []
        if self.ratios is not None and len(self.ratios) != len(self.sets):
            problems.append(
                f"{at}ratios has {len(self.ratios)} numbers; it accepts {len(self.sets)}, one for each set."
            )
        if len({Path(path).stem for path in self.sets}) < len(self.sets):
            problems.append(f"{at}sets has several files of one name ({some(self.sets)}): give each its own.")
        return problems

    @property
    def ratio_of(self) -> tuple[int, ...]:
        """The ratio of each set."""
        return self.ratios or (1,) * len(self.sets)

    @cached_property
    def members(self) -> tuple[DataSet, ...]:
        """The data sets.

        Raises:
            InputError: with a sentence for each problem of each file, which names file and key.
        """
        problems = Problems()
        found = [problems.taking(partial(_read_set, Path(path).expanduser())) for path in self.sets]
        problems.raise_found()
        members = tuple(item for item in found if item is not None)
        with_mpp = [item for item in members if item.mpp is not None]
        without = [str(item.file) for item in members if item.mpp is None]
        if with_mpp and without:
            raise InputError(
                f"{some(without)}: mpp is missing; it is needed to show these images at the scale of those of "
                f"{with_mpp[0].file}, which has mpp={with_mpp[0].mpp:g}."
            )
        if with_mpp and self.mpp is None:
            values = some([f"{item.mpp:g} ({item.file})" for item in with_mpp])
            raise InputError(
                f"mpp is null; it accepts the one that the training's scale refers to. The sets have {values}."
            )
        return members

    def resolve(self) -> Reader:
        """Return this reader, after reading the files of the sets and recognizing their layouts.

        Raises:
            InputError: as `members`; or if a set is in no known layout.
        """
        _ = self.members
        return self

    @property
    def bits(self) -> int | None:
        """The camera's bits a pixel if those of all sets are the same; else None."""
        (*others, bits) = {getattr(item.reader, "bits", None) for item in self.members}
        return None if others else bits

    def records(self) -> list[Record]:
        """List the images of all sets."""
        return [
            MixedRecord(
                f"{item.name}_{record.name}", record.image, record.masks, record.problem, record.index, record, number
            )
            for number, item in enumerate(self.members)
            for record in item.reader.records()
        ]

    def set_number(self, record: Record) -> int:
        """Return the place of an image's set among the sets."""
        assert isinstance(record, MixedRecord)
        return record.number

    def read(self, record: Record) -> Sample:
        """Decode one image by the reader of its set."""
        assert isinstance(record, MixedRecord)
        assert record.source is not None
        sample = self.members[record.number].reader.read_classified(record.source)
        return replace(sample, name=record.name, zoom=self._zoom(record.number))

    def key(self, record: Record) -> str:
        """Return the digest by the reader of the image's set, with the scale."""
        assert isinstance(record, MixedRecord)
        assert record.source is not None
        reader = self.members[record.number].reader
        return f"{type(reader).__name__}-{reader.key(record.source)}-{self._zoom(record.number):g}"

    def _zoom(self, number: int) -> float:
        mpp = self.members[number].mpp
        return 1.0 if mpp is None or self.mpp is None else mpp / self.mpp

    def refuse_other_classes(self, names: Sequence[set[str]]) -> None:
        """Refuse sets of which one lacks classes that another has: its nuclei of them would count as background.

        Args:
            names: those of the nuclei of each set.

        Raises:
            InputError: naming two files and their classes.
        """
        with_nuclei = [(item.file, classes) for item, classes in zip(self.members, names, strict=True) if classes]
        for file, classes in with_nuclei[1:]:
            first_file, first = with_nuclei[0]
            if classes != first:
                raise InputError(
                    f"{first_file} has the classes {some(sorted(first))}, {file} {some(sorted(classes))}: give both "
                    "the same names by classes (a list, or groups), or read all nuclei as one class (classes=one)."
                )

    def split(self, of_sets: "Sequence[Sequence[Summary]]", shared: SplitSettings) -> Split:
        """Split each set by the keys in its file, else by those of the mixture.

        Args:
            of_sets: the images of each set.
            shared: of the mixture.

        Raises:
            InputError: if a set cannot be split as asked, naming its file.
        """
        parts = []
        for item, summaries in zip(self.members, of_sets, strict=True):
            keys = {**{name: getattr(shared, name) for name in SPLIT_KEYS}, **item.split}
            chosen = with_default_group(SplitSettings(**keys), item.reader.default_group)
            start = len(item.name) + 1
            names = [summary.name[start:] for summary in summaries]
            contents = [summary.content for summary in summaries]
            try:
                found = split(names, [len(summary) for summary in summaries], chosen, contents)
            except InputError as error:
                raise InputError([f"{item.file}: {problem}" for problem in error.problems]) from error
            train, val = (tuple(f"{item.name}_{name}" for name in names) for names in (found.train, found.val))
            parts.append(Split(train, val, f"{item.name}: {found.description}"))
        return Split(
            tuple(sorted(name for part in parts for name in part.train)),
            tuple(sorted(name for part in parts for name in part.val)),
            " ".join(part.description for part in parts),
        )


def _read_set(path: Path) -> DataSet:
    """Read the file of one set.

    Raises:
        InputError: with a sentence for each problem, which begins with the file.
    """
    try:
        keys = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"sets has {path}, which cannot be read ({error.strerror}): check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not YAML ({str(error).splitlines()[0]}).") from error
    if not isinstance(keys, dict):
        raise InputError(
            f"{path} has no keys of a data set; it accepts reader, root, mpp, val and others of conf/data."
        )
    if of_all := [key for key in keys if key in OF_ALL]:
        raise InputError(f"{path}: {some(of_all)} belong to the whole training: set them beside sets.")
    if isinstance(root := keys.get("root"), str):
        keys["root"] = str(path.parent / Path(root).expanduser())
    try:
        reader, chosen = read_keys(keys, "data", SINGLE)
        reader = reader.resolve()
    except InputError as error:
        raise InputError([f"{path}: {problem}" for problem in error.problems]) from error
    own = {name: getattr(chosen, name) for name in SPLIT_KEYS if name in keys}
    return DataSet(path.stem, path, reader, chosen.mpp, own)
