"""Replace the results in a folder as a whole, also if the process is killed at any moment.

1. A prediction writes into `.prediction.part/`: its request, the journal of finished images, and under `new/` every
   file that will be in the folder. A kill leaves the older files as they are; `resume=true` continues from the journal.
2. When all files are whole, `.prediction.part/` is renamed to `.prediction.swap/`. From here on the new results hold.
3. Files of the older prediction that have no successor are removed, the new files moved to their places, and
   `.prediction.swap/` is removed. A kill leaves that folder: `require_whole` refuses to read the results beside it, and
   the next prediction into the folder completes the move first.

A lock of the operating system, which a kill frees, keeps a second prediction out.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from nucleiseg.errors import InputError, some
from nucleiseg.files import sync_folder, write_json
from nucleiseg.foreign_files import read_json
from nucleiseg.progress import counted, echo
from nucleiseg.writers.registry import FORMATS

STAGING = ".prediction.part"
SWAP = ".prediction.swap"
LOCK = ".prediction.lock"
MANIFEST = ".prediction.json"
"""The request that the results of a folder were made by, and the names of their files."""

REQUEST, JOURNAL, NEW, STALE = "request.json", "journal.jsonl", "new", "stale.json"
"""In `.prediction.part/`: the request, the finished images, the folder's new files, the old ones to remove."""

FILES = ("counts.csv", "images.json", "answer.origin.json", *(name for item in FORMATS.values() for name in item.files))
"""Names of the files of all images."""

FOLDERS = sorted({item.folder for item in FORMATS.values() if item.folder is not None})
"""Folders of the files that each image has one of."""

Request = dict[str, Any]
"""What a prediction depends on, as JSON holds it: the digest of the checkpoint, settings, and under "images" for each
name the id, bytes and time of change of its file."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other predictions out of a folder, which is made where missing.

    Raises:
        InputError: if another process is predicting into it, or a result's place is taken by a folder or file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"Another prediction into output={folder} is running: wait for its end, or give another folder."
        ) from error
    try:
        _require_free_places(folder)
        yield
    finally:
        lock.release()


def require_whole(folder: Path) -> None:
    """Refuse a folder in which a kill interrupted the replacement of older results.

    Raises:
        InputError: if the files there are of two predictions.
    """
    if (folder / SWAP).exists():
        raise InputError(
            f"The prediction in {folder} was interrupted while it replaced an older one, so its files belong to both: "
            f"run the same predict.py with resume=true, which completes it without computing anything again."
        )


def is_begun(folder: Path) -> bool:
    """Return whether a folder holds a prediction, finished or not: its images were listed before."""
    return any((folder / name).exists() for name in (STAGING, SWAP, MANIFEST))


def begin(folder: Path, request: Request, resume: bool) -> Path:
    """Prepare `.prediction.part/` for a new prediction, or for the one that was interrupted.

    Args:
        folder: of the results; locked, and the move into it completed (`complete`).
        request: everything the prediction depends on.
        resume: whether to continue an unfinished one.

    Returns:
        `.prediction.part/`.

    Raises:
        InputError: if the unfinished prediction depends on something else.
    """
    staging = folder / STAGING
    if resume and (staging / REQUEST).is_file():
        before = read_json(staging / REQUEST)
        if problems := _differences(before if isinstance(before, dict) else {}, request):
            raise InputError(
                f"resume=true cannot continue the unfinished prediction in {folder}, which is another one: "
                f"{'; '.join(problems)}. Give the same keys and images, or leave out resume=true to start over."
            )
        for temporary in list((staging / NEW).rglob(".*.part*")):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()
        return staging
    if resume:
        echo(f"There is no unfinished prediction in {folder}: all images are predicted.")
    elif staging.exists():
        echo(f"Removing the unfinished prediction in {folder} (resume=true would have continued it).")
    if staging.exists():
        shutil.rmtree(staging)
    write_json(staging / REQUEST, request, indent=None)
    (staging / NEW).mkdir()
    return staging


def finished(folder: Path, request: Request) -> dict[str, Any] | None:
    """Return the summary of the results in a folder if they are whole and were made by the same request."""
    manifest = _read_manifest(folder)
    same = manifest.get("request") == request and all((folder / name).is_file() for name in manifest["files"])
    return manifest.get("summary") if same else None


def publish(folder: Path, request: Request, image_files: Sequence[str], summary: Mapping[str, Any]) -> None:
    """Put the files in `.prediction.part/new/` into the folder, in place of the older prediction's.

    Args:
        folder: of the results; locked.
        request: which made the results, for `finished`.
        image_files: paths of the files of the images that were predicted (`overlays/NAME.png`); others are dropped.
        summary: what `finished` returns.

    Raises:
        InputError: if a file cannot be replaced; the next prediction into the folder tries again.
    """
    staging = folder / STAGING
    files = [*(name for name in FILES if (staging / NEW / name).is_file()), *image_files]
    kept = set(files)
    for path in [path for folder_name in FOLDERS for path in (staging / NEW / folder_name).rglob("*")]:
        if path.is_file() and path.relative_to(staging / NEW).as_posix() not in kept:  # of an image that failed
            path.unlink()
    older = {*FILES, *_read_manifest(folder).get("files", ())}
    write_json(staging / STALE, sorted(older - kept))
    write_json(staging / NEW / MANIFEST, {"request": request, "summary": summary, "files": files}, indent=None)
    staging.replace(folder / SWAP)
    sync_folder(folder)
    complete(folder)


def complete(folder: Path) -> None:
    """Move the files of `.prediction.swap/` to their places, if there are any; can be repeated after a kill.

    Raises:
        InputError: if a file cannot be removed or replaced.
    """
    swap = folder / SWAP
    if not swap.exists():
        return
    try:
        for name in _own_files(read_json(swap / STALE) if (swap / STALE).exists() else []):
            (folder / name).unlink(missing_ok=True)
            emptied = (folder / name).parent
            while emptied != folder and emptied.is_dir() and not any(emptied.iterdir()):
                emptied.rmdir()
                emptied = emptied.parent
        for file in [path for path in (swap / NEW).rglob("*") if path.is_file()]:
            target = folder / file.relative_to(swap / NEW)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        sync_folder(folder)
        shutil.rmtree(swap)
    except OSError as error:
        raise InputError(
            f"{error.filename2 or error.filename} cannot be replaced ({error.strerror}): close the program that has it "
            f"open, or remove it, and run the same predict.py with resume=true, which completes {folder}."
        ) from error


def _require_free_places(folder: Path) -> None:
    taken = [name for name in FILES if (folder / name).is_dir()]
    taken += [name for name in FOLDERS if (folder / name).exists() and not (folder / name).is_dir()]
    if taken:
        raise InputError(
            f"Results cannot be written to output={folder}: {', '.join(taken)} there is a folder where a file will "
            f"be, or a file where a folder will be. Remove it, or give another folder."
        )


def _differences(before: Request, now: Request) -> list[str]:
    """Return a clause for each difference between two requests."""
    problems = [
        f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key != "images" and before.get(key) != now.get(key)
    ]
    images, others = before.get("images", {}), now["images"]
    changed = [name for name in images.keys() | others.keys() if images.get(name) != others.get(name)]
    if changed:
        problems.append(f"{counted(len(changed), 'image')} changed, came or went ({some(sorted(changed))})")
    return problems


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of the results in a folder, its files checked; empty if it is missing or damaged."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return {**manifest, "files": _own_files(manifest.get("files"))} if isinstance(manifest, dict) else {}


def _own_files(names: object) -> list[str]:
    """Return the names that are of results: whatever a manifest from elsewhere lists, no other file is removed."""
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return [name for name in texts if name in FILES or _is_image_file(name)]


def _is_image_file(name: str) -> bool:
    """Return whether a path is one of a file that some format writes for an image, or of one inside its store."""
    return ".." not in PurePosixPath(name).parts and any(
        item.folder is not None
        and name.startswith(f"{item.folder}/")
        and (f"{item.suffix}/" in name if item.is_store else name.endswith(item.suffix))
        for item in FORMATS.values()
    )
