"""Sets of images that checkpoints are scored on, identified by a digest before any image is read.

The modules that read data import Lightning, which takes seconds: they are imported where data are read, so that a fully
cached leaderboard starts at once.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from nucleiseg.data.classes import BACKGROUND, IGNORE
from nucleiseg.errors import InputError
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.progress import echo, track
from nucleiseg.runs import Run
from nucleiseg.structures import Sample

if TYPE_CHECKING:
    from nucleiseg.data.cache import Summary
    from nucleiseg.data.datamodule import NucleiDataModule
    from nucleiseg.data.readers.base import Record

WITHOUT_EFFECT = ("cache_dir", "workers", "batch_size")
"""Keys of the `data` group that don't change which images are scored."""

DIGEST = "images"
"""Cache entry with the digest of an image set."""


class ImageSet:
    """The validation images of a data configuration (all images if it has none) with their truth.

    Args:
        data: the keys of the `data` group.
        fingerprint: of the data when the run began (`splits.json`); None: computed from the data.
        names: of the validation images then; None: taken from the data.
        cache: stores digests.
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
        """Return the validation images of a run.

        Raises:
            InputError: if the run has none or does not record them.
        """
        names, data = run.splits.get("val"), run.config.get("data")
        if not names or not isinstance(data, Mapping):
            why = "trained on all its images" if run.splits else "has no splits.json with its images"
            raise InputError(f"{run.name} {why}: choose other images to score it on.")
        return cls(data, run.splits.get("fingerprint"), names, cache)

    @classmethod
    def given(cls, data: Mapping[str, Any], run: Run) -> "ImageSet":
        """Return the images of a data configuration, decoded with the bits per pixel of the run's own data.

        Args:
            data: the keys of the `data` group.
            run: the run whose checkpoints are scored on them.
        """
        own = run.config.get("data")
        if not isinstance(own, Mapping):
            return cls(dict(data))
        names = own.get("classes")
        if isinstance(names, Mapping):
            names = [name for name in names if name not in (IGNORE, BACKGROUND)]
        return cls(with_classes(with_bits(data, own.get("bits")), names))

    @property
    def identity(self) -> str:
        """Text that is equal for equal sets, so that each is read once."""
        data = {key: value for key, value in self.data.items() if key not in WITHOUT_EFFECT}
        return json.dumps([data, self.fingerprint, self.names], sort_keys=True, default=str)

    @property
    def are_validation(self) -> bool:
        """Whether they are a run's own validation images, on which a score threshold may be chosen."""
        return self.names is not None

    @property
    def mpp(self) -> float | None:
        """Micrometers per pixel of the images; None if unknown."""
        return self.data.get("mpp")

    @cached_property
    def digest(self) -> str:
        """Digest of the scored images and their truth, independent of other images of the data.

        Raises:
            InputError: if the cache doesn't have the digest, and the data cannot be read.
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
        """Digest of all images of the data, their truth and their split.

        Raises:
            InputError: if the data are needed and cannot be read.
        """
        return _digest([self.fingerprint or self.datamodule.fingerprint, self.names or tuple(self.records)])

    @cached_property
    def datamodule(self) -> "NucleiDataModule":
        """The data, listed and checked.

        Raises:
            InputError: if they cannot be read, or have changed since the run began.
        """
        datamodule = set_up_data(self.data)
        found = tuple(record.name for record in scored_records(datamodule))
        changed = self.fingerprint is not None and datamodule.fingerprint != self.fingerprint
        if changed or (self.names is not None and found != self.names):
            raise InputError(
                f"The data of {self.data.get('root') or self.data.get('reader')} have changed since the run was "
                "trained (images, masks or their split), so it may have been trained on what it is scored on. "
                "Restore them, name their new folder if they were moved, or choose other images to score it on."
            )
        return datamodule

    @cached_property
    def truths(self) -> tuple[ImageTruth, ...]:
        """The truth of each image, in the order of their names; ids count from 1.

        Raises:
            InputError: if an image or its truth cannot be read, or the data have changed since the run began.
        """
        numbered = enumerate(track(list(self.records), "Reading the truth"), 1)
        return tuple(ImageTruth.of(self.sample(name), number) for number, name in numbered)

    @cached_property
    def records(self) -> "dict[str, Record]":
        """The images that are scored, by name."""
        return {record.name: record for record in scored_records(self.datamodule)}

    @property
    def summaries(self) -> "list[Summary]":
        """Summaries of all images of the data with their boxes."""
        return self.datamodule.summaries

    def sample(self, name: str) -> Sample:
        """Return an image with its instances."""
        return self.datamodule.load(self.records[name])


def with_bits(data: Mapping[str, Any], bits: int | None) -> dict[str, Any]:
    """Return the keys of the `data` group with the training's bits per pixel if they set none.

    Args:
        data: the keys of the `data` group; readers of synthetic images have no key `bits`.
        bits: bits per pixel with which the checkpoint's training images were decoded.
    """
    given = data.get("bits")
    if "bits" not in data or bits is None or given == bits:
        return dict(data)
    if given is None:
        return {**data, "bits": bits}
    echo(f"Note: images are decoded with bits={given}, but the network was trained with {bits}.")
    return dict(data)


def with_classes(data: Mapping[str, Any], classes: object) -> dict[str, Any]:
    """Return the keys of the `data` group with the training's classes where they choose none.

    Args:
        data: the keys of the `data` group.
        classes: `one` or a list of names.
    """
    return {**data, "classes": classes} if data.get("classes") is None and classes is not None else dict(data)


def set_up_data(data: Mapping[str, Any]) -> "NucleiDataModule":
    """List, check and split the data of a configuration as training would; print a note if they are synthetic.

    Args:
        data: the keys of the `data` group.

    Raises:
        InputError: with every problem of the data and their configuration.
    """
    from nucleiseg.data.build import build_datamodule
    from nucleiseg.transforms.preprocessing import Preprocessing

    unused = Preprocessing()  # predictors have their own
    datamodule = build_datamodule(data, train_transform=unused, val_transform=unused, seed=0, total_steps=1)
    datamodule.setup()
    if datamodule.reader.synthetic:
        echo("NOTE: the data are SYNTHETIC, not photographed: no number measured here holds for real tissue.")
    return datamodule


def scored_records(datamodule: "NucleiDataModule") -> "tuple[Record, ...]":
    """Return the validation images, or all images if there are none."""
    return datamodule.val_records or datamodule.train_records


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
