"""Recognize the layout of a folder, and read it with the reader of that layout.

For example:

    reader = AutoReader(root="data").resolve()         # prints: Found COCO JSON: 30 images, 14,598 annotations.
"""

from nucleiseg.data.readers.base import Reader
from nucleiseg.data.readers.formats import FORMATS
from nucleiseg.data.readers.recognition import Tree
from nucleiseg.data.settings import FolderPath
from nucleiseg.errors import InputError
from nucleiseg.progress import counted, echo
from nucleiseg.settings import Bits, settings


@settings
class AutoReader(Reader):
    """Stands for the reader of whatever layout the root has.

    Attributes:
        root: the folder of the data set.
        bits: see `AnnotatedReader`.
    """

    root: FolderPath
    bits: Bits | None = None

    def resolve(self) -> Reader:
        """Return the reader of the layout that the root has, and print what was found.

        Names of files decide; at most three files are opened.

        Raises:
            InputError: if the root does not exist, is in no known layout (with the nearest), or in several.
        """
        if not self.root.exists():
            raise InputError(f"The data folder {self.root} does not exist: check root.")
        tree = Tree.of(self.root)
        evidence = {name: found for name, reader in FORMATS.items() if (found := reader.recognize(tree)) is not None}
        hits = {name: found for name, found in evidence.items() if not found.missing}
        if len(hits) == 1:
            ((name, found),) = hits.items()
            echo(f"Found {found.found} (reader={name}).")
            return FORMATS[name].from_dict({"root": self.root, "bits": self.bits}, name)
        if hits:
            listed = "; ".join(f"{name} ({found.found})" for name, found in hits.items())
            raise InputError(f"{self.root} is in several layouts: {listed}. Choose one as the reader.")
        if evidence:
            nearest = "; ".join(f"{found.found}, but without {found.missing}" for found in evidence.values())
            hint = f"What comes nearest: {nearest}"
        else:
            hint = f"Known are {', '.join(sorted(set(FORMATS) - {'demo'}))}"
        raise InputError(f"{self.root} with {counted(len(tree.files), 'file')} is not in a known layout. {hint}.")
