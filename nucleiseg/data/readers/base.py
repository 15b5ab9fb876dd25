"""What a reader is: the one interface between a format on the disk and the rest of the package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from nucleiseg.structures import Sample


@dataclass(frozen=True)
class Record:
    """One image of a data set as listing the files shows it, before anything is decoded.

    Attributes:
        name: the image's name, unique in its data set (no suffix, no folder).
        image: the image's file; None where the image is drawn, not read.
        masks: the files that hold its instances, in the order of the instances.
        problem: a sentence where the listing already shows that the record cannot be used (two images in one
            folder, say). Such a record is listed all the same, and `Reader.read` raises the sentence, so that it
            is reported together with what decoding finds in other records.
    """

    name: str
    image: Path | None = None
    masks: tuple[Path, ...] = ()
    problem: str | None = None


class Reader(Protocol):
    """Lists the images of a data set and reads each with its instances.

    Implementations are frozen dataclasses that subclass this: picklable (workers are spawned with them) and
    hashable (the cache remembers what it has checked for which reader).
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels 1, 2, ..."""
        ...

    @property
    def drawn(self) -> bool:
        """True if the images are synthetic, so that results on them mean nothing about real tissue."""
        ...

    def records(self) -> list[Record]:
        """List the images in a fixed order, without decoding any.

        Raises:
            InputError: if there is nothing to list. A problem of one image goes into its `Record.problem`.
        """
        ...

    def read(self, record: Record) -> Sample:
        """Decode one image and its instances.

        Raises:
            InputError: with a sentence for each problem of this record.
        """
        ...

    def key(self, record: Record) -> str:
        """Return a hexadecimal digest that changes whenever `read` would return something else.

        It depends on the contents of the files and on no absolute path or time, so that it also tells on another
        machine whether the data are the same.

        Raises:
            InputError: if a file cannot be read.
        """
        ...
