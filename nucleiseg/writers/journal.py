"""Append records to a file so that a kill loses at most the last one.

One line a record: the CRC-32 of the rest of the line in hexadecimal, a space, and the record in JSON. Each line is on
the disk before the next begins. A line that a kill cut off, or whose bytes changed, is not a record.
"""

import json
import os
import threading
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nucleiseg.files import naming

Record = dict[str, Any]


class Journal:
    """Records by key, in a file; memory holds their keys and places only.

    Args:
        path: the file. It is made where missing; the whole records in it are kept, of one key the last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: dict[str, int] = {}
        self._lock = threading.Lock()
        self._handle = path.open("a+b")
        self._handle.seek(0)
        end = 0
        for line in self._handle:
            record = _parse(line)
            if record is not None:
                self._places[record["key"]] = end
            if line.endswith(b"\n"):
                end += len(line)
        self._handle.truncate(end)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handle.close()

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, key: str, **values: Any) -> None:  # noqa: ANN401
        """Append a record, and return when it is on the disk; safe in any thread.

        Args:
            key: what `read` finds it by.
            **values: anything that JSON holds.

        Raises:
            OSError: if it cannot be written; its `filename` is the journal's.
        """
        text = json.dumps({"key": key, **values}, separators=(",", ":")).encode()
        with self._lock, naming(self._path):
            place = self._handle.seek(0, os.SEEK_END)
            self._handle.write(b"%08x %b\n" % (zlib.crc32(text), text))
            self._handle.flush()
            os.fsync(self._handle.fileno())
            self._places[key] = place

    def read(self, key: str) -> Record:
        """Return the values of a key's record.

        Raises:
            KeyError: if there is none.
            OSError: if the file changed since it was opened.
        """
        self._handle.seek(self._places[key])
        record = _parse(self._handle.readline())
        if record is None:
            raise OSError(f"The record of {key} in {self._path} changed while it was in use.")
        del record["key"]
        return record

    def discard(self, key: str) -> None:
        """Forget the record of a key."""
        self._places.pop(key, None)


def _parse(line: bytes) -> Record | None:
    """Return the record in a line; None if the line is not whole."""
    digits, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or digits != b"%08x" % zlib.crc32(text):
        return None
    record: Record = json.loads(text)
    return record
