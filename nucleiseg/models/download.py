"""Download files of the zoo once, and verify them on every use."""

import hashlib
import os
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from filelock import FileLock

from nucleiseg.errors import InputError
from nucleiseg.files import atomic_path, cache_folder
from nucleiseg.models.zoo import ZooEntry
from nucleiseg.progress import echo, track

TIMEOUT = 20.0
"""Seconds without a byte after which a connection counts as dead."""

CHUNK = 1_000_000
"""Bytes read at once: the progress bar counts megabytes."""


class UnavailableError(InputError):
    """Weights are not on this computer and cannot be downloaded: no network, a wrong address, or no space."""


def path_in_cache(entry: ZooEntry, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the path of an entry's file in the cache, whether it exists or not; users may place a file there.

    Args:
        entry: of the zoo.
        folder: of all weights; None takes `weights` in the user's cache folder (see `files.cache_folder`).
    """
    return (cache_folder() / "weights" if folder is None else Path(folder)) / entry.file_name


def fetch(entry: ZooEntry, folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the verified file of an entry, downloaded if it is not in the cache yet.

    Of several processes that ask at once (the ranks of a training, the jobs of a sweep), one downloads and the
    others wait for it. An interrupted download leaves no partial file under that name.

    Args:
        entry: of the zoo.
        folder: as in `path_in_cache`.

    Raises:
        UnavailableError: it is not in the cache and cannot be downloaded, with the address and the path to put it at;
            or the cache cannot be written.
        InputError: the file is there and damaged.
    """
    path = path_in_cache(entry, folder)
    if not path.exists():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{path.name}.lock")):
                if not path.exists():  # no other process was faster
                    _download(entry, path)
                    return path
        except OSError as error:
            raise UnavailableError(
                f"{entry.name} is not on this computer, and the folder {path.parent} cannot be written "
                f"({error.strerror or error}): set the environment variable NUCLEISEG_CACHE to one with free space."
            ) from error
    if problem := _wrong_digest(entry, path):
        raise InputError(f"{path} is not {entry.name}: {problem}. Delete it, and it will be downloaded again.")
    return path


def _download(entry: ZooEntry, path: Path) -> None:
    for rest in path.parent.glob(f".{path.stem}.*.part{path.suffix}"):  # of a process that was killed
        rest.unlink()
    echo(f"Downloading {entry.name} ({entry.megabytes} MB, license {entry.license}) from {entry.address}.")
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            for chunk in track(_body(entry, path), f"{entry.name} (MB)", total=entry.megabytes):
                file.write(chunk)
        if problem := _wrong_digest(entry, temporary):
            raise _unavailable(entry, path, f"what arrived is another file, {problem}")


def _body(entry: ZooEntry, path: Path) -> Iterator[bytes]:
    """Yield the content at the address in chunks.

    Raises:
        UnavailableError: unknown host, refused connection, timeout, certificates, HTTP status, or an end before the
            announced length, which urllib does not report.
    """
    try:
        with urlopen(entry.address, timeout=TIMEOUT) as response:
            announced, received = response.headers.get("Content-Length"), 0
            while chunk := response.read(CHUNK):
                received += len(chunk)
                yield chunk
            if announced is not None and received != int(announced):
                raise HTTPException(f"the transfer ended after {received:,} of {int(announced):,} bytes")
    except (OSError, HTTPException, ValueError) as error:
        # the network's own message, without Python's wrapping
        cause = error.reason if isinstance(error, URLError) and not isinstance(error, HTTPError) else error
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise _unavailable(entry, path, reason) from error


def _unavailable(entry: ZooEntry, path: Path, reason: str) -> UnavailableError:
    return UnavailableError(
        f"{entry.name} is not on this computer and cannot be downloaded ({reason}). "
        f"Fetch {entry.address} on a computer with a network and put it at {path}."
    )


def digest(path: str | os.PathLike[str], algorithm: str = "sha256") -> str:
    """Return the digest of a file in hexadecimal digits.

    Args:
        path: the file.
        algorithm: `sha256`, or `md5` for detectron2's file names. The 6 or 8 digits in the names detect damage, not
            forgery.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _wrong_digest(entry: ZooEntry, path: Path) -> str | None:
    """Return a clause if a file's digest does not begin as its name does, else None."""
    algorithm, _, expected = entry.digest.partition(":")
    found = digest(path, algorithm)[: len(expected)]
    return None if found == expected else f"its {algorithm} begins with {found} instead of {expected}"
