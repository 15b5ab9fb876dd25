"""Files that are whole or absent: written to a temporary name beside the target, then renamed.

Also JSON that others wrote, bounded and with sentences instead of tracebacks, CSV without formulas and without the row
that a kill cut in two, names in the order that people expect, and the user's cache folder.
"""

import csv
import errno
import io
import json
import math
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
"""How a cell begins that a spreadsheet would run as a formula, with any apostrophes that `quote_formula` put there
(https://owasp.org/www-community/attacks/CSV_Injection)."""

MOST_JSON_BYTES = 1 << 29
"""Largest JSON file that is read, 512 MiB: COCO's largest file of instances (train2017) has 448 MiB."""

MOST_PARSED_BYTES = 1 << 32
"""Most memory that a JSON file may take once it is parsed (`_parsed_bytes`): 4 GiB."""

MOST_DEPTH = 32
"""Deepest nesting of a checked JSON file; a COCO file has 5."""

TORCH_WRITE_FAILED = ("PytorchStreamWriter failed", "unexpected pos", "file write failed", "iostream error")
"""Texts of the RuntimeError that `torch.save` raises where the file system refuses a write (inline_container.cc)."""

FULL = 1 << 20
"""Free bytes below which a disk counts as full: the file that did not fit is still on it."""


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it to `path` if the body succeeds.

    Two processes may write the same file at once: each has its own temporary name and the last rename wins.
    If the body raises, the temporary file is removed and `path` stays as it was.

    Args:
        path: the file to write; its folder is created where missing.

    Yields:
        The temporary path (same suffix as `path`, since some writers choose the format by it).

    Raises:
        OSError: if the file cannot be written; its `filename` is `path`, also where the body's error named another
            file or none, or was PyTorch's RuntimeError for a failed write.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{uuid4().hex[:8]}.part{target.suffix}")
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(target, temporary):
            yield temporary
            with temporary.open("rb+") as handle:  # on the disk before the rename makes it visible
                os.fsync(handle.fileno())
            temporary.replace(target)
            sync_folder(target.parent)
    finally:
        with suppress(OSError):  # a broken disk must not hide the error
            temporary.unlink()


@contextmanager
def naming(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let the errors of the body that writes `target` name that file.

    `write` and `fsync` name no file, `open` names the temporary one, and `torch.save` hides the error of the system
    in a RuntimeError.

    Args:
        target: the file that is written.
        temporary: where it is written first.

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
    """Guess why a write failed whose error number PyTorch does not pass on."""
    try:
        is_full = shutil.disk_usage(folder).free < FULL
    except OSError:
        return errno.EIO
    return errno.ENOSPC if is_full else errno.EIO


def sync_folder(folder: Path) -> None:
    """Have the folder's entries on the disk: after a power failure, a rename may else be lost (POSIX only)."""
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
            raise  # else the folder may not be read, or its file system syncs no folders: nothing is known to be lost


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all.

    Bytes of a file's name that are no text, which Python holds as lone surrogates, are written with a backslash as
    JSON escapes them, so that a JSON file gives them back.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: str | os.PathLike[str], value: Any, indent: int | None = 2) -> None:  # noqa: ANN401
    """Write a JSON file, whole or not at all; `value` is anything `json.dumps` takes."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def require_regular_file(path: Path) -> int:
    """Refuse whatever would block or never end when it is read: a pipe, a socket, a device; and folders.

    Args:
        path: a file that somebody else wrote; symbolic links are followed.

    Returns:
        The file's size in bytes.

    Raises:
        InputError: if there is no such file, or it is not a regular one.
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


def read_json(path: Path, *, finite: bool = False) -> Any:  # noqa: ANN401
    """Read a JSON file of at most `MOST_JSON_BYTES`.

    Args:
        path: the file.
        finite: see `parse_json`.

    Raises:
        InputError: if it is missing, not a regular file, too large, or not JSON.
    """
    require_regular_file(path)
    try:
        with path.open("rb") as handle:
            data = handle.read(MOST_JSON_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    except MemoryError as error:
        raise InputError(f"{path} does not fit in memory: give a smaller file.") from error
    return parse_json(data, str(path), finite=finite)


def parse_json(data: bytes, where: str, *, finite: bool = False) -> Any:  # noqa: ANN401
    """Parse JSON in UTF-8 (with or without a byte order mark), UTF-16 or UTF-32.

    Of a key that an object has twice the last value is taken, as in every JSON reader of the field.

    Args:
        data: the file's content.
        where: what the error calls it.
        finite: refuse a file with NaN, an infinite number, or nesting beyond `MOST_DEPTH`. Readers of COCO files check
            each number that they use instead, so that the error names its entry.

    Raises:
        InputError: if it is too large or not JSON.
    """
    if len(data) > MOST_JSON_BYTES:
        raise InputError(f"{where} has more than {MOST_JSON_BYTES >> 20} MiB of JSON: split it, or give fewer images.")
    if _parsed_bytes(data) > MOST_PARSED_BYTES:
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
        raise InputError(f"{where} is no JSON file ({reason}): it may be cut off, or of another kind.") from error
    return value


def _parsed_bytes(data: bytes) -> int:
    """Estimate the memory of parsed JSON: in CPython a number takes 32 bytes, a list 64 and an object 200."""
    return 32 * data.count(b",") + 64 * data.count(b"[") + 200 * data.count(b"{")


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


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file; none if there is no file. A last line without its end is not a row.

    Cells that `quote_formula` changed are changed back.
    """
    if not path.exists():
        return []
    text = path.read_bytes().decode("utf-8")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    return [{key: unquote_formula(cell) for key, cell in row.items()} for row in rows]


def to_csv(rows: Iterable[Iterable[object]]) -> str:
    """Return rows of cells as CSV with Unix line ends; text passes through `quote_formula`."""
    lines = [[quote_formula(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    # a carriage return in a cell ends the row for spreadsheets, but csv does not quote it before Python 3.13
    has_return = any("\r" in str(cell) for line in lines for cell in line)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL).writerows(lines)
    return text.getvalue()


def quote_formula(cell: str) -> str:
    """Return a text that a spreadsheet shows as it is: an apostrophe stands before what it would run as a formula.

    Image, class and run names come from elsewhere: `=HYPERLINK("http://...")` is a valid file name. Numbers stay.

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
    """Undo `quote_formula`; what is no text, as `csv` has for missing cells, stays."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell) else cell


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a sort key by which mask_2 comes before mask_10; equal numbers written differently stay apart."""
    parts: list[str | int] = list(re.split(r"([0-9]+)", name))  # text and digits in turn, beginning with text
    parts[1::2] = [int(digits) for digits in parts[1::2]]
    return parts, name


def cache_folder() -> Path:
    """Return the user's cache folder for this package, where the system keeps such files.

    The environment variable NUCLEISEG_CACHE overrides it.
    """
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
