"""Read and write named arrays in one file that is mapped into memory, so that a crop touches only its own pages.

NumPy maps single `.npy` files but not the members of an `.npz`, and one file a sample is what can be written
whole or not at all. Layout: a fixed head (see `HEAD`), a JSON header, the arrays, each at a multiple of 64 bytes.
"""

import json
import struct
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np

HEAD = struct.Struct("<16sQQL")
"""Magic with the version of the layout, length of the header, length of the file, CRC-32 of all that follows."""

MAGIC = b"nucleiseg-array1"
ALIGNMENT = 64
"""Bytes: any dtype may be viewed at such an offset, and cache lines start there."""


def write(path: Path, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    """Write arrays and JSON values to `path` (atomicity is the caller's: see `files.atomic_path`).

    Args:
        path: the file.
        arrays: arrays of numbers by name.
        facts: what `json.dumps` takes.
    """
    chunks = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    form = [[name, array.dtype.str, array.shape] for name, array in chunks.items()]
    header = json.dumps({"arrays": form, "facts": facts}).encode()
    body = bytearray(header)
    for array in chunks.values():
        body.extend(bytes(_padding(HEAD.size + len(body))))
        body.extend(array.tobytes())
    size = HEAD.size + len(body)
    with path.open("wb") as handle:
        handle.write(HEAD.pack(MAGIC, len(header), size, zlib.crc32(body)))
        handle.write(body)


def read(path: Path, verify: bool = False) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Map the arrays of a file into memory, copy on write: changing them changes no file.

    Args:
        path: a file made by `write`.
        verify: also check the checksum, which reads the whole file.

    Returns:
        The arrays by name, and the facts.

    Raises:
        OSError: if the file cannot be opened.
        ValueError: if it is not a whole file of this layout.
    """
    data = np.asarray(np.memmap(path, np.uint8, mode="c"))
    if len(data) < HEAD.size:
        raise ValueError(f"{path} is too short")
    magic, header_length, size, checksum = HEAD.unpack(data[: HEAD.size].data)
    if magic != MAGIC or size != len(data) or HEAD.size + header_length > size:
        raise ValueError(f"{path} is not a whole file of arrays")
    if verify and zlib.crc32(data[HEAD.size :].data) != checksum:
        raise ValueError(f"{path} is damaged")
    header = json.loads(data[HEAD.size : HEAD.size + header_length].tobytes())
    arrays, end = {}, HEAD.size + header_length
    for name, dtype, shape in header["arrays"]:
        start = end + _padding(end)
        end = start + int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        arrays[name] = data[start:end].view(dtype).reshape(shape)
    return arrays, cast(dict[str, Any], header["facts"])


def _padding(position: int) -> int:
    return -position % ALIGNMENT
