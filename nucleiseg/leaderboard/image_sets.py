"""Sets of images that checkpoints are scored on, known by a digest before any of them is read.

Lightning is imported where data are read, so that a leaderboard that has nothing to evaluate does not wait for it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.progress import track
from nucleiseg.runs import Run
from nucleiseg.structures import Sample

if TYPE_CHECKING:
    from nucleiseg.data.cache import Summary
    from nucleiseg.data.datamodule import NucleiDataModule
    from nucleiseg.data.readers.base import Record

PLACES = ("cache_dir", "workers", "batch_size")
"""Keys of the `data` group that say nothing of which images there are."""


DIGEST = "images"
"""What the cache calls the digest of scored images."""


class ImageSet:
    """The images of a data configuration that are held out (all, where none is), with their truth.

    Args:
        data: the keys of the `data` group.
        fingerprint: what it was when the run began (`splits.json`); None: the data are looked at.
        names: of the images that were held out then; None: as for the fingerprint.
        cache: keeps digests; None: the data are looked at.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        fingerprint: str | None = None,
        names: Sequence[str] | None = None,
        cache: EvaluationCache | None = None,
    ) -> None:
        self.data = data
        self.fingerprint = fingerprint
        self.names = None if names is None else tuple(names)
        self.cache = cache

    @classmethod
    def of_run(cls, run: Run, cache: EvaluationCache | None = None) -> "ImageSet":
        """Return the validation images of a run; the cache knows the digests of those that were looked at before.

        Raises:
            InputError: if it has none, or does not tell.
        """
        names, data = run.splits.get("val"), run.config.get("data")
        if not names or not isinstance(data, Mapping):
            why = (
                "trained on all its images (data.val=none)" if run.splits else "does not tell its images (splits.json)"
            )
            raise InputError(f"{run.name} {why}: give images to score it on, data=folders data.root=DIR data.val=none.")
        return cls(data, run.splits.get("fingerprint"), names, cache)

    @classmethod
    def given(cls, data: Mapping[str, Any], run: Run) -> "ImageSet":
        """Return the images of a data configuration, decoded with the camera's bits of the run's own data.

        Args:
            data: the keys of the `data` group.
            run: whose checkpoints are scored on them.
        """
        from nucleiseg.leaderboard.evaluating_checkpoint import with_bits

        own = run.config.get("data")
        return cls(with_bits(data, own.get("bits") if isinstance(own, Mapping) else None))

    @property
    def identity(self) -> str:
        """What two sets have in common that need to be read once."""
        plain = {key: value for key, value in self.data.items() if key not in PLACES}
        return json.dumps([plain, self.fingerprint, self.names], sort_keys=True, default=str)

    @property
    def are_validation(self) -> bool:
        """Whether they are a run's own validation images, on which a score threshold may be chosen."""
        return self.names is not None

    @property
    def mpp(self) -> float | None:
        """Micrometers per pixel of the images; None where the data do not name them."""
        return self.data.get("mpp")

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the scored images and their truth alone, whatever else the data hold.

        The data are only looked at where the cache does not know the digest from the fingerprint and the names.

        Raises:
            InputError: if they must be looked at and cannot be read.
        """
        name = self.data_key
        known = self.cache.get_json(name, DIGEST) if self.cache and self.names else None
        if isinstance(known, str):
            return known
        keys = {summary.name: summary.key for summary in self.summaries}
        digest = _digest([[(name, keys[name]) for name in self.records], self.datamodule.class_names])
        if self.cache:
            self.cache.put_json(name, DIGEST, digest)
        return digest

    @property
    def data_key(self) -> str:
        """16 hexadecimal digits of all images of the data, their truth and their split.

        Raises:
            InputError: if the data must be looked at and cannot be read.
        """
        return _digest([self.fingerprint or self.datamodule.fingerprint, self.names or tuple(self.records)])

    @cached_property
    def datamodule(self) -> "NucleiDataModule":
        """The data, listed and checked.

        Raises:
            InputError: if they cannot be read, or are not those of the run any more.
        """
        from nucleiseg.leaderboard.evaluating_checkpoint import scored_records, set_up_data

        datamodule = set_up_data(self.data)
        found = tuple(record.name for record in scored_records(datamodule))
        changed = self.fingerprint is not None and datamodule.fingerprint != self.fingerprint
        if changed or (self.names is not None and found != self.names):
            raise InputError(
                f"The data of {self.data.get('root') or self.data.get('reader')} are not those that the run was "
                "trained with (images, masks or their split have changed), so that it may have seen what it is scored "
                "on: bring them back (if they were moved, data.root=FOLDER says where they are), or give images that "
                "it has not seen, data=folders data.root=DIR data.val=none."
            )
        return datamodule

    @cached_property
    def truths(self) -> tuple[ImageTruth, ...]:
        """The truth of each image, in the order of their names; ids count from 1."""
        numbered = enumerate(track(list(self.records), "Reading the truth"), 1)
        return tuple(ImageTruth.of(self.sample(name), number) for number, name in numbered)

    def read_truth(self) -> None:
        """Read the truth of each image now.

        Raises:
            InputError: if an image or its truth cannot be read, or they are not those of the run any more.
        """
        _ = self.truths

    @cached_property
    def records(self) -> "dict[str, Record]":
        """The images that are scored, by their names."""
        from nucleiseg.leaderboard.evaluating_checkpoint import scored_records

        return {record.name: record for record in scored_records(self.datamodule)}

    @property
    def summaries(self) -> "list[Summary]":
        """Every image of the data, held out or not, with its boxes."""
        return self.datamodule.summaries

    def sample(self, name: str) -> Sample:
        """Return an image with its instances."""
        return self.datamodule.cache.load(self.datamodule.reader, self.records[name])

    def pixels(self, name: str) -> np.ndarray:
        """Return the (H, W, 3) uint8 RGB pixels of an image."""
        return self.sample(name).image


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
