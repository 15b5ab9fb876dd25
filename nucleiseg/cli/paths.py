"""Check that outputs can be written before work starts."""

from pathlib import Path
from tempfile import TemporaryFile

from nucleiseg.errors import InputError


def require_writable_folder(folder: Path, key: str = "output") -> None:
    """Refuse a folder that is not writable, by a temporary file.

    Args:
        folder: the folder; if it does not exist, its nearest existing parent is tried.
        key: its command-line key.

    Raises:
        InputError: if it is a file or below one, or is not writable.
    """
    try:
        existing = next(place for place in (folder, *folder.parents) if place.exists())
        if not existing.is_dir():
            raise InputError(f"{key}={folder}: {existing} is a file; give a folder, or a new name.")
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(f"{key}={folder} cannot be written ({error.strerror}): choose another folder.") from error


def require_writable_file(file: Path, key: str = "output") -> None:
    """Refuse a file that cannot be written.

    Raises:
        InputError: if it is a folder, or its folder may not be written.
    """
    if file.is_dir():
        raise InputError(f"{key}={file} is a folder; give a file, such as {file / 'metrics.json'}.")
    require_writable_folder(file.parent, key)
