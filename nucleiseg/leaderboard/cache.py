"""Cache of evaluations: a folder with two files each, named by a digest of all that the evaluation depends on."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nucleiseg.errors import InputError
from nucleiseg.files import write_json
from nucleiseg.foreign_files import read_json
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.progress import echo
from nucleiseg.settings import Settings, settings
from nucleiseg.version import __version__

VERSION = 5
"""Version of the evaluation; raise it when a number changes, so that older files are ignored."""

HASHES = "hashes.json"
"""Digests of files, so that each is hashed once: path -> [size, mtime_ns, SHA-256]."""


@cache
def versions() -> tuple[str, str]:
    """Return the versions of this package and of PyTorch, whose kernels round differently."""
    return __version__, metadata.version("torch")


@settings
class CheckpointInfo(Settings):
    """Facts on a checkpoint besides its evaluation.

    Attributes:
        parameters: number of parameters of the network.
        weights: the initial weights of the training, in words.
        stored_threshold: the score threshold stored in the file; None if it has none.
        chosen_threshold: the score threshold with the best F1 on the scored images; None if these are not validation
            images, or have no instances.
        overflowed_images: number of images whose prediction overflowed.
    """

    parameters: int
    weights: str
    stored_threshold: float | None
    chosen_threshold: float | None
    overflowed_images: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True)
class Evaluation:
    """One checkpoint on one set of images."""

    record: EvaluationRecord
    info: CheckpointInfo


class EvaluationCache:
    """A folder of evaluations, each `KEY.npz` and then `KEY.json`; it may be deleted at any time.

    Args:
        folder: created when the first evaluation is stored.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            hashes = read_json(self.folder / HASHES)
        except InputError:  # missing or damaged: files are hashed again
            hashes = None
        entries = hashes.items() if isinstance(hashes, dict) else ()
        self._hashes: dict[str, list[Any]] = {
            name: entry for name, entry in entries if isinstance(entry, list) and len(entry) == 3
        }
        self._has_warned = False

    def key(self, checkpoint: str, image_set: str, settings: object) -> str:
        """Return the name of an evaluation, which also depends on the versions of this package and of PyTorch.

        Args:
            checkpoint: digest of the checkpoint's file.
            image_set: digest of images and truth.
            settings: of the prediction; anything that JSON can hold.
        """
        text = json.dumps([VERSION, *versions(), checkpoint, image_set, settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> Evaluation | None:
        """Return an evaluation; None if it is missing or (with a message) damaged."""
        record, info = self._paths(key)
        if not info.exists() or not record.exists():
            return None
        try:
            loaded = CheckpointInfo.from_dict(read_json(info), info.name, complete=True)
            return Evaluation(EvaluationRecord.load(record), loaded)
        except (InputError, OSError, ValueError, KeyError, EOFError) as error:
            echo(f"The cached evaluation {record} is damaged ({error}): the checkpoint is evaluated again.")
            return None

    def put(self, key: str, evaluation: Evaluation) -> None:
        """Store an evaluation; if the folder cannot be written, a message is printed once."""
        record, info = self._paths(key)
        with self._writing():
            evaluation.record.save(record)
            write_json(info, evaluation.info.to_dict())

    def get_json(self, key: str, name: str) -> Any:  # noqa: ANN401
        """Return a value of `put_json`; None if it is missing or unreadable."""
        try:
            return read_json(self.folder / f"{key}.{name}.json")
        except InputError:
            return None

    def put_json(self, key: str, name: str, value: object) -> None:
        """Store a JSON value derived from an evaluation."""
        with self._writing():
            write_json(self.folder / f"{key}.{name}.json", value, indent=None)

    def digest(self, file: Path) -> str:
        """Return the SHA-256 of a file; it is read again only if its size or modification time has changed.

        Raises:
            InputError: if it cannot be read.
        """
        try:
            status = file.stat()
            name, state = str(file.resolve()), [status.st_size, status.st_mtime_ns]
            known = self._hashes.get(name)
            if known is None or known[:2] != state:
                with file.open("rb") as handle:
                    known = [*state, hashlib.file_digest(handle, "sha256").hexdigest()]
                self._hashes[name] = known
                with self._writing():
                    write_json(self.folder / HASHES, self._hashes)
        except OSError as error:
            raise InputError(f"{file} cannot be read ({error.strerror}): check the path.") from error
        return str(known[2])

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.npz", self.folder / f"{key}.json"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Print the first OSError of the body and ignore others: the cache is optional."""
        try:
            yield
        except OSError as error:
            if not self._has_warned:
                echo(
                    f"The evaluation cache cannot be written ({error.filename or self.folder}: {error.strerror}): "
                    "evaluations are computed again next time. Free some space, or choose another folder (cache_dir)."
                )
            self._has_warned = True
