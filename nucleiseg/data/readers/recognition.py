"""Recognize the layout of a folder by names of files, opening at most three."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from nucleiseg.data.readers.listing import IMAGE_SUFFIXES, list_tree
from nucleiseg.errors import InputError
from nucleiseg.foreign_files import read_json
from nucleiseg.progress import counted

MOST_OPENED = 3
"""Files that are opened to recognize the layout of a folder."""


@dataclass
class Tree:
    """The files below a folder by name; few of them are opened.

    Attributes:
        root: the folder, or the only file.
        files: all files below it.
        opened: content of the files that were opened, at most `MOST_OPENED`.
    """

    root: Path
    files: list[Path]
    opened: dict[Path, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> Self:
        """List a folder; a file is a tree of itself."""
        return cls(root, [root] if root.is_file() else list_tree(root))

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Return the files with one of the suffixes (in lower case)."""
        return [path for path, suffix in self.suffixes if suffix in suffixes]

    @cached_property
    def suffixes(self) -> list[tuple[Path, str]]:
        """Each file with its suffix in lower case; of compressed files also the one before (`.geojson.gz`)."""
        suffixes = [(path, path.suffix.lower()) for path in self.files]
        return [(path, Path(path.stem).suffix.lower() + end if end == ".gz" else end) for path, end in suffixes]

    def images(self, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
        """Return the files that are taken for images by their suffix."""
        return self.with_suffix(*suffixes)

    def open_json(self) -> dict[Path, Any]:
        """Return the content of the largest JSON files, as far as files may still be opened."""
        candidates = sorted(
            self.with_suffix(".json", ".geojson", ".geojson.gz"), key=lambda path: (-path.stat().st_size, path)
        )
        for path in candidates[:MOST_OPENED]:
            self.open(path, read_json)
        return {path: self.opened[path] for path in candidates if self.opened.get(path) is not None}

    def open(self, path: Path, read: Callable[[Path], Any]) -> Any:  # noqa: ANN401
        """Return what `read` makes of a file; None where it cannot be read, or too many have been opened."""
        if path not in self.opened and len(self.opened) < MOST_OPENED:
            try:
                self.opened[path] = read(path)
            except (InputError, OSError, ValueError):
                self.opened[path] = None
        return self.opened.get(path)


@dataclass(frozen=True)
class Evidence:
    """Why a folder is in a layout, or what is missing.

    Attributes:
        found: what was found, to follow "Found": `MoNuSeg: 30 images, 30 XML files`.
        missing: what is missing, as the end of a sentence; empty where the layout is complete.
    """

    found: str
    missing: str = ""


def images_and(count: int, files: int, what: str) -> str:
    """Return `30 images, 30 XML files`."""
    return f"{counted(count, 'image')}, {counted(files, what)}"
