"""Read JSON files and zip archives of unknown origin with bounded memory; damage is reported in sentences.

`read_json` reads a file; `read_member` and `parse_json` read a member of a zip archive.
"""

import gzip
import json
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nucleiseg.errors import InputError, some
from nucleiseg.files import require_regular_file

MOST_PIXELS = 178_956_970
"""Most pixels of an image: Pillow's limit against decompression bombs. Label maps take some 12 bytes a pixel."""

MOST_JSON_BYTES = 1 << 29
"""Largest accepted JSON file, 512 MiB; COCO's largest file of instances (train2017) has 448 MiB."""

MOST_PARSED_BYTES = 1 << 32
"""Most memory of a parsed JSON file, estimated in `parse_json`: 4 GiB."""

MOST_WHOLE = 2**53
"""Floats represent whole numbers exactly up to here, so that 7 and 7.0 are one id."""

MOST_DEPTH = 32
"""Deepest nesting of a checked JSON file; a COCO file has 5."""

DAMAGED_ARCHIVE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,  # also of bz2
    RuntimeError,  # encrypted; with its subclass NotImplementedError, an unknown compression
    ValueError,
    OverflowError,
)
"""Errors of opening, listing or unpacking a damaged zip."""


def read_json(path: Path, *, finite: bool = False) -> Any:  # noqa: ANN401
    """Read a JSON file of at most `MOST_JSON_BYTES`, decompressed if its name ends in `.gz`.

    Args:
        path: the file.
        finite: see `parse_json`.

    Raises:
        InputError: if it is missing, not a regular file, too large, or not JSON.
    """
    require_regular_file(path)
    try:
        with path.open("rb") as handle:
            is_compressed = path.suffix.lower() == ".gz"
            data = (gzip.GzipFile(fileobj=handle) if is_compressed else handle).read(MOST_JSON_BYTES + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged, or not compressed by gzip ({error}): copy it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit in memory: give a smaller file.") from error
    return parse_json(data, str(path), finite=finite)


def parse_json(data: bytes, where: str, *, finite: bool = False) -> Any:  # noqa: ANN401
    """Parse JSON in UTF-8 (with or without a byte order mark), UTF-16 or UTF-32.

    The last value of a duplicate key is used, as in other JSON readers.

    Args:
        data: the file's content.
        where: the file's name in errors.
        finite: refuse a file with NaN, an infinite number, or nesting beyond `MOST_DEPTH`. Readers of COCO files check
            the numbers that they use instead, so that errors name the entry.

    Raises:
        InputError: if it is too large or not JSON.
    """
    if len(data) > MOST_JSON_BYTES:
        raise InputError(f"{where} has more than {MOST_JSON_BYTES >> 20} MiB of JSON: split it, or give fewer images.")
    # in CPython a number takes 32 bytes, a list 64 and an object 200
    if 32 * data.count(b",") + 64 * data.count(b"[") + 200 * data.count(b"{") > MOST_PARSED_BYTES:
        raise InputError(
            f"{where} has too many values: parsed, it would take more than {MOST_PARSED_BYTES >> 30} GiB of memory."
        )
    try:
        value = json.loads(data)
        if finite:
            _require_finite(value)
    except MemoryError as error:
        raise InputError(f"{where} does not fit in memory: give a smaller file.") from error
    except RecursionError as error:
        raise InputError(f"{where} is nested too deeply: is it a file of another kind?") from error
    except ValueError as error:
        reason = "a number has thousands of digits" if "int_max_str_digits" in str(error) else error
        raise InputError(f"{where} is not a JSON file ({reason}): it may be cut off, or of another kind.") from error
    return value


def _require_finite(document: Any) -> None:  # noqa: ANN401
    """Raise a ValueError for a number that is not finite, a RecursionError for too deep a nesting."""
    stack = [(document, 1)]
    while stack:
        value, depth = stack.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"it has the number {value}; JSON numbers are finite")
        if isinstance(value, dict | list):
            if depth > MOST_DEPTH:
                raise RecursionError
            children = value.values() if isinstance(value, dict) else value
            stack.extend((child, depth + 1) for child in children)


def whole_number(value: Any) -> int | None:  # noqa: ANN401
    """Return a whole number, also of 7.0 as spreadsheets write it; None for other values (true, "7", 1e300)."""
    return int(value) if is_number(value, MOST_WHOLE) and value == int(value) else None


def is_number(value: Any, most: float) -> bool:  # noqa: ANN401
    """Return whether a JSON value is a number from -most to most; false for NaN and true."""
    return type(value) in (int, float) and abs(value) <= most


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
        InputError: if the archive or the member is too large, damaged or encrypted. Unpacking stops at the limit, even
            if the archive's header records a smaller size.
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
    except MemoryError as error:  # LZMA's header may request a dictionary of gigabytes
        raise InputError(f"{path}: {some([name])} does not fit in memory when unpacked.") from error
    except DAMAGED_ARCHIVE as error:
        raise InputError(
            f"{path}: {some([name])} cannot be unpacked ({str(error) or type(error).__name__:.200})."
        ) from error
    if is_too_large:
        raise InputError(f"{path}: {some([name])} unpacks to more than {limit >> 20} MiB: give fewer images.")
    return name, data
