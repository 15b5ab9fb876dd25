"""The contract between a format on the disk and the rest of the package.

For example:

    reader = FoldersReader(root="data")
    sample = reader.read(reader.records()[0])      # the image with its instances on label-map layers
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from nucleiseg.data.readers.recognition import Evidence, Tree
from nucleiseg.errors import InputError
from nucleiseg.files import require_regular_file
from nucleiseg.settings import Settings, settings
from nucleiseg.structures import NUCLEUS, NucleusClass, Sample


@dataclass(frozen=True)
class Record:
    """One image of a data set as listing the files shows it, before anything is decoded.

    Attributes:
        name: the image's name, unique in its data set (no suffix, no folder).
        image: the image's file; None for synthetic images.
        masks: the files that hold its instances, in the order of the instances.
        problem: a sentence where the listing already shows that the record cannot be used (two images in one
            folder, say). Such a record is listed all the same, and `Reader.read` raises the sentence, so that it
            is reported together with what decoding finds in other records.
        index: number of the image in a file that holds several.
    """

    name: str
    image: Path | None = None
    masks: tuple[Path, ...] = ()
    problem: str | None = None
    index: int = 0


@settings
class Reader(Settings):
    """Base of all readers: lists the images of a data set and reads each with its instances.

    A reader is a class of typed settings, so its fields are the keys of its data set. It is picklable (workers are
    spawned with it) and hashable (the cache remembers what it has checked for which reader).

    Attributes:
        synthetic: True if the images are rendered, so that results on them mean nothing about real tissue.
    """

    synthetic: ClassVar[bool] = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of the labels 1, 2, ... of samples that do not name theirs (`Sample.classes`)."""
        return (NUCLEUS,)

    @property
    def default_group(self) -> str | None:
        """The group (see `splits.group_of`) that `auto` means for this layout; None: as for all."""
        return None

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Return why a folder is in this layout, or what it lacks to be; None where nothing points to it."""
        return None

    def resolve(self) -> "Reader":
        """Return the reader that reads the images: this one, unless it stands for others."""
        return self

    def records(self) -> list[Record]:
        """List the images in a fixed order, without decoding any.

        Raises:
            InputError: if there is nothing to list. A problem of one image goes into its `Record.problem`.
        """
        raise NotImplementedError

    def read(self, record: Record) -> Sample:
        """Decode one image and its instances.

        Raises:
            InputError: with a sentence for each problem of this record.
        """
        raise NotImplementedError

    def read_classified(self, record: Record) -> Sample:
        """Read a sample whose classes are named: as `read` does, or by `class_names`."""
        sample = self.read(record)
        return sample if sample.classes else replace(sample, classes=self._own_classes())

    def find_classes(self, records: Sequence[Record]) -> Mapping[NucleusClass, int]:
        """Return the classes of images and the number of nuclei of each, at least 1, without their masks.

        Images that cannot be read are left out.
        """
        return dict.fromkeys(self._own_classes(), 1)

    def _own_classes(self) -> tuple[NucleusClass, ...]:
        names = self.class_names
        return tuple(map(NucleusClass, names, range(1, len(names) + 1) if len(names) > 1 else [None]))

    def key(self, record: Record) -> str:
        """Return a hexadecimal digest that changes whenever `read` would return something else.

        It depends on the contents of the files and on no absolute path or time, so that it also shows on another
        machine whether the data are the same.

        Raises:
            InputError: if a file cannot be read.
        """
        raise NotImplementedError


def digest_files(identity: str, paths: Iterable[Path]) -> str:
    """Return the SHA-256 of a text and of the names and contents of files.

    The contents, not times and sizes: a copy keeps its digest, and a change within the clock's granularity or by a
    tool that restores times is noticed. It takes some 15 ms for an image of 600 masks (one CPU core, files in the
    system's memory).

    Raises:
        InputError: if a file cannot be read.
    """
    digest = hashlib.sha256(identity.encode(errors="surrogateescape"))  # not every file's name is UTF-8
    for path in paths:
        require_regular_file(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): check that it is there.") from error
        digest.update(f"\0{path.name}\0{len(data)}\0".encode(errors="surrogateescape"))
        digest.update(data)
    return digest.hexdigest()
