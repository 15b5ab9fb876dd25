"""Read and write files of `torch.save`: no code is executed, and damage is detected.

    write_torch("a.ckpt", {"state_dict": network.state_dict()})
    content = read_torch("a.ckpt", what="a checkpoint")

Such a file is a zip archive. `write_torch` adds `sha256:HEX` as the archive's comment: the digest of the file as torch
wrote it, that is without the comment and with a comment length of 0. The file carries its digest wherever it is moved
to, one rename replaces both, and torch reads it as any other. Files without it (of other programs, or made before) are
checked by the CRC-32 of the archive's entries.
"""

import hashlib
import os
import re
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from nucleiseg.errors import InputError
from nucleiseg.files import atomic_path, require_regular_file
from nucleiseg.foreign_files import DAMAGED_ARCHIVE
from nucleiseg.restricted_pickle import refusal

ZIP_START = b"PK\x03\x04"
"""First bytes of a zip archive; files of torch before 1.6 start otherwise, and hold nothing to check them by."""

ZIP_END = b"PK\x05\x06"
"""First bytes of the record that ends a zip archive (APPNOTE 4.3.16): 22 bytes, whose last two are the length of the
comment that follows."""

ZIP_END_SIZE = 22

DIGEST = re.compile(rb"sha256:([0-9a-f]{64})")
"""The comment of a file that `write_torch` wrote."""

DIGEST_SIZE = len("sha256:") + 64

BLOCK = 1 << 20
"""Bytes that are hashed at a time."""


def write_torch(path: str | os.PathLike[str], content: object, *, keep: Path | None = None) -> None:
    """Write `content` with `torch.save` and its SHA-256, whole or not at all; equal contents give equal files.

    Args:
        path: the file.
        content: what `torch.save` takes.
        keep: the name that a file of an earlier call gets before it is replaced; None keeps no earlier file.
    """
    target = Path(path)
    with atomic_path(target) as temporary:
        with temporary.open("wb") as handle:  # given a path, torch would write its random name into the file
            torch.save(content, handle)
        with temporary.open("rb+") as handle:
            comment = b"sha256:" + hashlib.file_digest(handle, "sha256").hexdigest().encode()
            handle.seek(-2, os.SEEK_END)
            handle.write(len(comment).to_bytes(2, "little") + comment)
        if keep is not None and target.exists():
            target.replace(keep)


def read_torch(path: str | os.PathLike[str], *, what: str, mmap: bool = False) -> Any:  # noqa: ANN401
    """Read a file of `torch.save` on the CPU, with torch's reader of weights alone (`weights_only=True`).

    torch's own messages are not repeated: they advise to read the file with `weights_only=False`, which would run it.

    Args:
        path: the file.
        what: it should be, for messages, such as `a checkpoint`.
        mmap: map the file, so that only what is used takes memory; older files, which are no zip, cannot be mapped.

    Raises:
        InputError: it cannot be opened, is damaged, or holds something other than arrays, numbers and texts.
    """
    require_regular_file(Path(path))
    try:
        with Path(path).open("rb") as handle:
            reason = find_damage(handle)
        if reason:
            raise InputError(
                f"{path} cannot be read as {what}: it is damaged ({reason}). Nothing in it was run. Copy or download "
                "it again, or use another file."
            )
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except InputError:
        raise
    except Exception as error:  # a damaged or hostile file raises whatever its random operations raise
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"{path} cannot be read as {what} ({error.strerror}).") from error
        if asked := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise refusal(path, asked[1]) from None
        raise InputError(
            f"{path} cannot be read as {what}: it is damaged or cut off, or holds something other than arrays, numbers "
            "and texts. Nothing in it was run. Copy or download it again."
        ) from error


def find_damage(handle: IO[bytes]) -> str:
    """Return how a file of `torch.save` differs from what was written; empty if it does not, or nothing can tell.

    Args:
        handle: the file, open for reading.
    """
    if handle.read(len(ZIP_START)) != ZIP_START:
        return ""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(size - ZIP_END_SIZE - DIGEST_SIZE, 0))
    tail = handle.read()
    end, comment = tail[:ZIP_END_SIZE], tail[ZIP_END_SIZE:]
    if end.startswith(ZIP_END) and (digest := DIGEST.fullmatch(comment)):
        is_whole = end.endswith(DIGEST_SIZE.to_bytes(2, "little")) and _digest(handle, size) == digest[1].decode()
        return "" if is_whole else "its bytes do not have the SHA-256 that was written with them"
    if not tail[-ZIP_END_SIZE:].startswith(ZIP_END) or not tail.endswith(b"\0\0"):
        return "it does not end as it was written: cut off, overwritten or appended to"
    return _wrong_entry(handle, size)


def _digest(handle: IO[bytes], size: int) -> str:
    """Return the SHA-256 of a file of so many bytes as it was before its comment was written."""
    digest = hashlib.sha256()
    handle.seek(0)
    left = size - DIGEST_SIZE - 2
    while left and (block := handle.read(min(left, BLOCK))):
        digest.update(block)
        left -= len(block)
    digest.update(b"\0\0")
    return digest.hexdigest()


def _wrong_entry(handle: IO[bytes], size: int) -> str:
    """Return the first entry of the archive that differs from its CRC-32, in words; empty if there is none.

    With `set_crc32_options(False)` torch writes 0 for the CRC-32.
    """
    try:
        with zipfile.ZipFile(handle) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > size:  # torch stores entries as they are
                return "its entries are larger than the file"
            for entry in entries:
                if entry.CRC:
                    with archive.open(entry) as content:
                        while content.read(BLOCK):
                            pass
    except DAMAGED_ARCHIVE as error:
        return str(error) or type(error).__name__
    return ""
