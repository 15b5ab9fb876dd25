"""Typed settings of a data set that do not depend on its format: split, loading, resolution.

For example:

    DataSettings(val=0.2, batch_size=2)            # in a notebook
    DataSettings.from_dict({"val": 2}, "data")     # InputError: data.val is 2; it accepts a fraction ...
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from nucleiseg.data.classes import ClassChoice
from nucleiseg.files import cache_folder
from nucleiseg.settings import Accepts, Mpp, PathText, Settings, settings

GROUPS = "auto, tcga_site, none, or a regular expression with one group, such as '(.+)_tile'"

NO_CACHE = "none"
"""The `cache_dir` that decodes images each time."""


def _as_names(value: object) -> object:
    """Turn names into a tuple: a single one, lists of names that YAML may have read as numbers, and `none`."""
    if isinstance(value, str):
        return () if value.lower() in ("none", "null") else (value,)
    if isinstance(value, list | tuple) and value:
        return tuple(str(name) if type(name) is int else name for name in value)
    if value is None or value == ():
        return ()
    return value if type(value) is float else [value]  # a list is not accepted


ValChoice = Annotated[
    Annotated[float, Field(gt=0, lt=1)] | tuple[str, ...],
    BeforeValidator(_as_names),
    Accepts("a fraction between 0 and 1 (0.2), a list of image names, or none to train on all"),
]
"""A fraction of the images, or names; () trains on all."""

FolderPath = Annotated[
    Path,
    BeforeValidator(lambda value: Path(str(value)).expanduser() if type(value) in (str, int) else value),
    Accepts("a folder"),
]
"""A folder; a number is its name, as YAML reads 2024."""


@settings
class SplitSettings(Settings):
    """Which images validate.

    Attributes:
        val: a fraction of the images, names, or nothing (`none`): all are trained on.
        fold: validate on this fold, counted from 0, instead; None: no folds.
        folds: number of folds.
        fraction: share of the images on the training side that are trained on, see `splits.subset`; 1: all.
        fraction_seed: chooses them.
        group: which images stay on one side, see `splits.group_of`.
    """

    val: ValChoice = 0.2
    fold: Annotated[int, Field(ge=0, lt=1000)] | None = None
    folds: Annotated[int, Field(ge=2, le=1000)] = 5
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    fraction_seed: Annotated[int, Field(ge=0)] = 0
    group: Annotated[str, Accepts(GROUPS)] = "auto"

    def contradictions(self, at: str) -> Iterator[str]:
        """Yield a sentence for a fold that cannot be, or a group that is not a regular expression; see `Settings`."""
        if self.fold is not None and self.fold >= self.folds:
            yield f"{at}fold is {self.fold}; it accepts 0 to {self.folds - 1}, since {at}folds is {self.folds}."
        if self.fold is not None and isinstance(self.val, tuple):
            yield f"{at}fold is {self.fold}; it accepts null beside names or none in {at}val: leave that a fraction."
        try:
            groups = re.compile(self.group).groups
        except re.error as error:
            yield f"{at}group is '{self.group}'; it accepts {GROUPS}. It is not a regular expression: {error}."
        else:
            if self.group not in ("auto", "tcga_site", "none") and groups != 1:
                yield f"{at}group is '{self.group}'; it accepts {GROUPS}. This one has {groups} groups in brackets."


@settings
class DataSettings(SplitSettings):
    """How the images of any reader are split, cached and loaded.

    Attributes:
        classes: which classes the data set has, see `classes.choose_classes`; None: those of the annotations.
        repeat_threshold: images with classes in a smaller share of the training images than this are repeated, see
            `sampler.repeat_factors`; None: none is.
        mpp: micrometers per pixel of the images; None: unknown.
        cache_dir: folder of decoded samples; None: the user's cache folder; `none`: no cache.
        batch_size: training images in a batch of one process: 256 are more than a GPU of 140 GB holds.
        workers: worker processes of a loader, each of some 300 MB; 0 loads in the training process; None: see
            `datamodule.default_workers`.
    """

    classes: ClassChoice = None
    repeat_threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    mpp: Mpp | None = None
    cache_dir: PathText | None = None
    batch_size: Annotated[int, Field(ge=1, le=256)] = 1
    workers: Annotated[int, Field(ge=0, le=64)] | None = None

    @property
    def cache_path(self) -> Path | None:
        """The folder of decoded samples; None: no cache."""
        if self.cache_dir == NO_CACHE:
            return None
        return cache_folder() if self.cache_dir is None else Path(self.cache_dir).expanduser()
