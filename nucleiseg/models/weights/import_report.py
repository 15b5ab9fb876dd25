"""Report on loading weights: each layer of the network and each key of the file."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Note(NamedTuple):
    """A layer or key with the reason of its treatment.

    Attributes:
        name: a layer of the network, or a key of the file.
        why: a clause that ends a sentence, without a full stop.
    """

    name: str
    why: str


@dataclass(frozen=True)
class ImportReport:
    """Treatment of every entry of the network and every key of the file.

    Attributes:
        loaded: entries of the network's state dict that now hold the file's values.
        reinitialized: layers that keep the random values they had, since the file's do not fit or it has none.
        ignored: keys of the file that no network of ours needs.
        remarks: sentences about settings, such as a standard deviation other than the file's.
    """

    loaded: list[str] = field(default_factory=list)
    reinitialized: list[Note] = field(default_factory=list)
    ignored: list[Note] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """Return messages for the user: one sentence per reason that lists its layers, then the remarks."""
        layers: dict[str, list[str]] = {}
        for note in self.reinitialized:
            layers.setdefault(note.why, []).append(note.name)
        return [
            f"Randomly initialized: {', '.join(names)}, since {why}." for why, names in layers.items()
        ] + self.remarks
