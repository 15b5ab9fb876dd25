"""Paths as people type them, and places that results can go to."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from nucleiseg.errors import InputError


def with_paths(keys: Mapping[str, Any], *paths: str) -> dict[str, Any]:
    """Return the keys with those that are paths as text: `~` becomes the user's home, and 2024 a name.

    Some shells leave the `~` of `output=~/results` to the program, and Hydra takes digits for a number.

    Args:
        keys: the keys of a command with their values.
        paths: which of them are paths; those that are absent or None stay so.
    """
    typed = {key: keys[key] for key in paths if keys.get(key) is not None}
    return {**keys, **{key: str(Path(str(value)).expanduser()) for key, value in typed.items()}}


def require_writable_folder(folder: Path, key: str = "output") -> None:
    """Refuse a folder that nothing can be written into, before hours of work end there; nothing is left in it.

    Args:
        folder: the folder; where it does not exist, the nearest one above that does is tried.
        key: what the user knows it as.

    Raises:
        InputError: if it is a file or below one, or may not be written.
    """
    try:
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        if not existing.is_dir():
            raise InputError(f"{key}={folder}: {existing} is a file; give a folder, or a name that is still free.")
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{key}={folder} cannot be written ({error.strerror}): give another place.") from error


def require_writable_file(file: Path, key: str = "output") -> None:
    """Refuse a file that cannot be written.

    Raises:
        InputError: if it is a folder, or its folder may not be written.
    """
    if file.is_dir():
        raise InputError(f"{key}={file} is a folder; give a file, such as {file / 'metrics.json'}.")
    require_writable_folder(file.parent, key)
