"""Listing files as people name them, past what file managers and notebooks leave lying about."""

import os
from collections.abc import Collection
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.files import natural_key

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Files that are taken for images (in any case)."""

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
"""Files that are taken for masks: lossless ones. JPEG and WebP smear small values around an edge, and every
value but 0 is the nucleus."""


def list_files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """List the files of a folder with one of the suffixes (in lower case), in natural order.

    A folder that does not exist has none. Hidden names are skipped: `.DS_Store`, and the `._NAME.png` that macOS
    leaves on foreign disks, which have an image's suffix but hold no image.
    """
    names = [name for name, is_folder in _visible(folder) if not is_folder]
    return [folder / name for name in names if Path(name).suffix.lower() in suffixes]


def list_folders(folder: Path) -> list[Path]:
    """List the folders in a folder, in natural order, without hidden ones (`.ipynb_checkpoints`) and `__MACOSX`."""
    return [folder / name for name, is_folder in _visible(folder) if is_folder and name != "__MACOSX"]


def _visible(folder: Path) -> list[tuple[str, bool]]:
    """Return (name, is a folder) of everything that is not hidden; `scandir` asks the disk once, not per file.

    Raises:
        InputError: if the folder may not be looked into.
    """
    try:
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be listed ({error.strerror}): check its permissions.") from error
    return sorted(found, key=lambda item: natural_key(item[0]))
