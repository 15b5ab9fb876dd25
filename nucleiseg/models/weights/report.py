"""What became of each layer of a network and each key of a file when weights were loaded."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Note(NamedTuple):
    """One layer or key, and why it was treated so.

    Attributes:
        name: a layer of the network, or a key of the file.
        why: a clause that ends a sentence, without a full stop.
    """

    name: str
    why: str


@dataclass(frozen=True)
class ImportReport:
    """Where every entry of the network and every key of the file went.

    Attributes:
        loaded: entries of the network's state dict that now hold the file's values.
        reinitialised: layers that keep the random values they had, since the file's do not fit or it has none.
        ignored: keys of the file that no network of ours needs.
        remarks: sentences about settings, such as a standard deviation other than the file's.
    """

    loaded: list[str] = field(default_factory=list)
    reinitialised: list[Note] = field(default_factory=list)
    ignored: list[Note] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """Say what a user should know: one sentence a reason, which names each layer, then the remarks."""
        layers: dict[str, list[str]] = {}
        for note in self.reinitialised:
            layers.setdefault(note.why, []).append(note.name)
        return [
            f"Randomly initialised: {', '.join(names)}, since {why}." for why, names in layers.items()
        ] + self.remarks
