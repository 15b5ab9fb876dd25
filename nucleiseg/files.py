"""Write files atomically: under a temporary name beside the target, then renamed.

Also: checks of regular files, CSV without formulas, natural sorting of names, the user's cache folder. `foreign_files`
reads files of unknown origin.
"""

import csv
import errno
import io
import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from nucleiseg.errors import InputError

FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""Start of a cell that spreadsheets evaluate as a formula, after any apostrophes of `quote_formula`
(https://owasp.org/www-community/attacks/CSV_Injection)."""

TORCH_WRITE_FAILED = ("PytorchStreamWriter failed", "unexpected pos", "file write failed", "iostream error")
"""Texts of `torch.save`'s RuntimeError for a failed write (inline_container.cc)."""

FULL = 1 << 20
"""Free bytes below which a disk is considered full; the partial file still occupies space."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` if the body succeeds.

    Two processes may write the same file at once: their temporary names differ and the last rename wins. If the body
    raises, the temporary file is removed and `path` is unchanged.

    Args:
        path: the file to write; its folder is created if missing.

    Yields:
        The temporary path, with the suffix of `path`, by which some writers choose the format.

    Raises:
        OSError: if the file cannot be written; see `naming`.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{uuid4().hex[:8]}.part{target.suffix}")
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(target, temporary):
            yield temporary
            with temporary.open("rb+") as handle:  # on disk before the rename makes it visible
                os.fsync(handle.fileno())
            temporary.replace(target)
            sync_folder(target.parent)
    finally:
        with suppress(OSError):  # a broken disk must not hide the error
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` if the body succeeds.

    If the body raises, the temporary folder is removed and `path` does not appear.

    Args:
        path: the new folder; missing parents are created.

    Yields:
        The temporary folder, which is empty.

    Raises:
        InputError: if `path` exists and is not an empty folder.
    """
    target = Path(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} exists already and is not an empty folder: give another name, or remove it.")
    temporary = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if target.exists():  # empty; Windows cannot rename onto a folder
            target.rmdir()
        temporary.replace(target)
        sync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def naming(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Set the `filename` of the body's OSErrors to the file that it writes.

    Errors of `write` and `fsync` have no file name, those of `open` have the temporary one, and `torch.save` raises a
    RuntimeError instead.

    Args:
        target: the file that is written.
        temporary: its temporary path.

    Raises:
        OSError: of the same class and number, with `target` as its `filename`.
    """
    try:
        yield
    except OSError as error:
        named = {str(name) for name in (error.filename, error.filename2) if name is not None}  # a copy names two
        if error.errno is None or (named and str(temporary or target) not in named):
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
    except RuntimeError as error:
        if not any(text in str(error) for text in TORCH_WRITE_FAILED):
            raise
        cause = error.__context__.errno if isinstance(error.__context__, OSError) else None
        number = cause or _write_errno(target.parent)
        raise OSError(number, os.strerror(number), str(target)) from error


def _write_errno(folder: Path) -> int:
    """Guess the error number of a failed write, which PyTorch does not provide."""
    try:
        is_full = shutil.disk_usage(folder).free < FULL
    except OSError:
        return errno.EIO
    return errno.ENOSPC if is_full else errno.EIO


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename survives a power failure (POSIX only)."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.EIO:
            raise  # other errors: the folder is not readable, or its file system does not support syncing folders


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` atomically as UTF-8 with Unix line ends.

    Lone surrogates, by which Python represents undecodable bytes of file names, are escaped as in JSON.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> None:  # noqa: ANN401
    """Write a JSON file atomically; `value` is anything that `json.dumps` accepts."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def require_regular_file(path: Path) -> int:
    """Return the size of a regular file in bytes; refuse pipes, sockets and devices, which may block, and folders.

    Args:
        path: a file of unknown origin; symbolic links are followed.

    Raises:
        InputError: if the file does not exist or is not a regular one.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except ValueError as error:  # a null character in the name
        raise InputError(f"{str(path)!r} is not a valid path ({error}).") from error
    if stat.S_ISREG(status.st_mode):
        return status.st_size
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
    raise InputError(f"{path} is {kind}, not a regular file: give a file, or remove it from its folder.")


def to_csv(rows: Iterable[Iterable[object]]) -> str:
    """Return rows of cells as CSV with Unix line ends; text passes through `quote_formula`."""
    lines = [[quote_formula(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    # spreadsheets end a row at a carriage return, which csv does not quote before Python 3.13
    has_return = any("\r" in str(cell) for line in lines for cell in line)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL).writerows(lines)
    return text.getvalue()


def quote_formula(cell: str) -> str:
    """Prefix a text that a spreadsheet would evaluate as a formula with an apostrophe; numbers are unchanged.

    Names of images, classes and runs are untrusted: `=HYPERLINK("http://...")` is a valid file name.

    >>> quote_formula("=1+1"), quote_formula("-0.5"), quote_formula("cell_7")
    ("'=1+1", '-0.5', 'cell_7')
    """
    if not FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return "'" + cell
    return cell


def unquote_formula(cell: str) -> str:
    """Undo `quote_formula`; `csv` has other types than text for missing cells, which are returned unchanged."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell) else cell


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key that puts mask_2 before mask_10 and distinguishes 2 from 02."""
    parts: list[str | int] = list(re.split(r"([0-9]+)", name))  # text and digits alternate, beginning with text
    parts[1::2] = [int(digits) for digits in parts[1::2]]
    return parts, name


def cache_folder() -> Path:
    """Return the user's cache folder for this package: NUCLEISEG_CACHE, or the system's standard location."""
    override = os.environ.get("NUCLEISEG_CACHE")
    if override:
        return Path(override).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "nucleiseg"


def path_text(value: object) -> object:
    """Return a path as text with `~` expanded; return other values (2024.10, a float in YAML) unchanged.

    Args:
        value: text, a path object, or a whole number (a folder 2024).
    """
    if type(value) is int:
        return str(value)
    return expanded_home(os.fspath(value)) if isinstance(value, str | os.PathLike) else value


def expanded_home(path: str) -> str:
    """Expand a leading `~`; `~NAME` of an unknown user stays."""
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 - pathlib raises for ~nobody
