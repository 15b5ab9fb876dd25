"""Listing files as people name them, past what file managers and notebooks leave lying about."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.files import natural_key

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Files that are taken for images (in any case)."""

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
"""Images that smear small values around an edge: as masks they are read, where a lossless file is not beside them."""

MOST_FILES = 500_000
"""Files of a tree whose names are read: a data set of a million files is not in one of the layouts."""

MOST_FOLDERS_DEEP = 6
"""Folders between a root and its deepest files: CryoNuSeg has 4."""

JUNK = ("thumbs.db", "desktop.ini", "__macosx")
"""Names, in lower case, that file managers leave behind; hidden files are skipped, too."""


@dataclass(frozen=True)
class Entries:
    """Entries of a folder, without hidden files and junk, in natural order.

    Attributes:
        folder: the folder.
        files: names of files, and of everything else that is not a folder.
        folders: names of folders.
    """

    folder: Path
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    def with_suffix(self, suffixes: Collection[str]) -> list[Path]:
        """Return the files with one of the suffixes (in lower case)."""
        return [self.folder / name for name in self.files if Path(name).suffix.lower() in suffixes]

    def others(self, used: Collection[Path]) -> list[Path]:
        """Return the files and folders that are not among the used ones."""
        return [path for name in (*self.files, *self.folders) if (path := self.folder / name) not in used]


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files of a folder with one of the suffixes (in lower case), in natural order.

    A folder that does not exist has none. Hidden names are skipped: `.DS_Store`, and the `._NAME.png` that macOS
    leaves on foreign disks, which have an image's suffix but hold no image.
    """
    return list_entries(folder).with_suffix(suffixes)


def list_folders(folder: Path) -> list[Path]:
    """List the folders in a folder, in natural order, without hidden ones (`.ipynb_checkpoints`) and `__MACOSX`."""
    return [folder / name for name in list_entries(folder).folders]


def list_entries(folder: Path) -> Entries:
    """List a folder; one that does not exist is empty. `scandir` asks the disk once, not per file.

    Raises:
        InputError: if the folder may not be looked into.
    """
    try:
        if not folder.is_dir():
            return Entries(folder)
        with os.scandir(folder) as entries:
            named = (entry for entry in entries if not entry.name.startswith(".") and entry.name.lower() not in JUNK)
            found = [(entry.name, _is_folder(entry)) for entry in named]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be listed ({error.strerror}): check its permissions.") from error
    found.sort(key=lambda item: natural_key(item[0]))
    files, folders = (tuple(name for name, is_folder in found if is_folder == kind) for kind in (False, True))
    return Entries(folder, files, folders)


def list_tree(root: Path) -> list[Path]:
    """List all files below a folder, in natural order, without hidden ones and junk.

    Raises:
        InputError: if there are more than `MOST_FILES`, or a folder may not be looked into.
    """
    found: list[Path] = []
    pending = [(root, 0)]
    while pending:
        folder, depth = pending.pop()
        entries = list_entries(folder)
        found += [folder / name for name in entries.files]
        if depth < MOST_FOLDERS_DEEP:
            pending += [(folder / name, depth + 1) for name in reversed(entries.folders)]
        if len(found) > MOST_FILES:
            raise InputError(
                f"The folder {root} holds more than {MOST_FILES:,} files: choose the folder of one data set."
            )
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell folders from files; a link that leads to itself is a file, which cannot be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False
