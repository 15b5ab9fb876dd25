"""Evaluations by what they were made of, so that nothing is predicted twice: a file each in a folder."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from nucleiseg.errors import InputError
from nucleiseg.files import write_json
from nucleiseg.foreign_files import read_json
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.models.plain import from_mapping, to_mapping
from nucleiseg.progress import say
from nucleiseg.version import __version__

VERSION = 3
"""Of how checkpoints are evaluated: raise it when a number would change, and no older file is looked at."""

HASHES = "hashes.json"
"""The digests of files, so that a checkpoint of 140 MB is hashed once: path -> [size, mtime_ns, SHA-256]."""


@cache
def versions() -> tuple[str, str]:
    """Return the versions of this package and of PyTorch, whose kernels round differently, without importing it."""
    return __version__, metadata.version("torch")


@dataclass(frozen=True)
class Facts:
    """What a checkpoint says about itself, and what was chosen for it, beside its evaluation.

    Attributes:
        parameters: how many the network has.
        weights: what the run started from, in words.
        stored_threshold: the score threshold in the file; None where it has none.
        chosen_threshold: the score threshold with the best F1 on the images that were scored; None where there was
            nothing to choose by, or they are no validation images, on which nothing may be chosen.
    """

    parameters: int
    weights: str
    stored_threshold: float | None
    chosen_threshold: float | None


@dataclass(frozen=True)
class Evaluation:
    """What is kept of one checkpoint on one set of images."""

    record: EvaluationRecord
    facts: Facts


class EvaluationCache:
    """A folder of evaluations: `KEY.npz` and, written after it, `KEY.json`. It may be deleted at any time.

    Args:
        folder: made when the first evaluation is put in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._hashes = self._read_hashes()
        self._has_said = False

    def key(self, checkpoint: str, image_set: str, settings: object) -> str:
        """Return the name of an evaluation, which changes with the versions of this package and of PyTorch, too.

        Args:
            checkpoint: digest of the checkpoint's file.
            image_set: digest of images and truth.
            settings: how it predicts; anything of plain values.
        """
        text = json.dumps([VERSION, *versions(), checkpoint, image_set, settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(self, key: str) -> Evaluation | None:
        """Return an evaluation; None where there is none, or a damaged one, which is said."""
        record, facts = self._paths(key)
        if not facts.exists() or not record.exists():
            return None
        try:
            return Evaluation(EvaluationRecord.load(record), from_mapping(Facts, read_json(facts), facts.name))
        except (InputError, OSError, ValueError, KeyError, EOFError) as error:
            say(f"An evaluation in the cache is damaged and made again ({record}: {error}).")
            return None

    def put(self, key: str, evaluation: Evaluation) -> None:
        """Keep an evaluation; a folder that cannot be written is said once, and the work goes on."""
        record, facts = self._paths(key)
        with self._writing():
            evaluation.record.save(record)
            write_json(facts, to_mapping(evaluation.facts))

    def get_json(self, key: str, what: str) -> Any:  # noqa: ANN401
        """Return what `put_json` kept; None where there is nothing that can be read."""
        try:
            return read_json(self.folder / f"{key}.{what}.json")
        except InputError:
            return None

    def put_json(self, key: str, what: str, value: object) -> None:
        """Keep something that was made of an evaluation, as plain values."""
        with self._writing():
            write_json(self.folder / f"{key}.{what}.json", value, indent=None)

    def digest(self, file: Path) -> str:
        """Return the SHA-256 of a file's content, from memory where its size and time are as they were.

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
            raise InputError(f"{file} cannot be read ({error.strerror}): check that it is there.") from error
        return str(known[2])

    def _paths(self, key: str) -> tuple[Path, Path]:
        return self.folder / f"{key}.npz", self.folder / f"{key}.json"

    def _read_hashes(self) -> dict[str, list[Any]]:
        try:
            hashes = read_json(self.folder / HASHES)
        except InputError:
            return {}
        entries = hashes.items() if isinstance(hashes, dict) else ()
        return {name: entry for name, entry in entries if isinstance(entry, list) and len(entry) == 3}

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if not self._has_said:
                say(
                    f"Evaluations cannot be kept for the next time in {self.folder} ({error.strerror}): give another "
                    "cache_dir."
                )
            self._has_said = True
