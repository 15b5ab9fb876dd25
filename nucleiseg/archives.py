"""Zip archives that others made: one member of bounded size, and sentences for damage.

name, data = read_member(Path("answer.zip"), choose=lambda names: names[0])
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.files import MOST_JSON_BYTES, require_regular_file

DAMAGED_ARCHIVE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,  # bz2 raises it too
    RuntimeError,  # encrypted; NotImplementedError, an unknown compression, is one
    ValueError,
    OverflowError,
    MemoryError,  # a head that asks for a dictionary of gigabytes
)
"""What opening, listing or unpacking a zip raises where a byte of it is not what it was."""


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip archive.

    Raises:
        InputError: if it is missing or not a regular file.
    """
    require_regular_file(path)
    return zipfile.is_zipfile(path)


def read_member(path: Path, choose: Callable[[Sequence[str]], str], limit: int = MOST_JSON_BYTES) -> tuple[str, bytes]:
    """Unpack one member of a zip into memory, at most `limit` bytes of it.

    Args:
        path: the archive.
        choose: names of all members -> the one to read; may raise an InputError.
        limit: most bytes of the unpacked member, and of the archive itself.

    Returns:
        The member's name and content.

    Raises:
        InputError: if the archive or the member is too large, damaged or encrypted. What the archive's head claims is
            not believed: unpacking stops at the limit.
    """
    if require_regular_file(path) > limit:
        raise InputError(f"{path} has more than {limit >> 20} MiB: give fewer images, or the JSON file itself.")
    name = "it"
    try:
        with zipfile.ZipFile(path) as archive:
            name = choose(archive.namelist())
            is_too_large = archive.getinfo(name).file_size > limit
            if not is_too_large:
                with archive.open(name) as handle:
                    data = handle.read(limit + 1)
                is_too_large = len(data) > limit
    except DAMAGED_ARCHIVE as error:
        raise InputError(f"{path}: {name} cannot be unpacked ({str(error) or type(error).__name__}).") from error
    if is_too_large:
        raise InputError(f"{path}: {name} unpacks to more than {limit >> 20} MiB: give fewer images.")
    return name, data
