"""From the plain keys of `conf/data` to a data module."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Annotated, Any

from pydantic import Field

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.dataset import Transform
from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.base import Reader
from nucleiseg.errors import InputError
from nucleiseg.files import cache_folder
from nucleiseg.settings import Problems, Settings, settings

COMMON_KEYS = ("val", "fold", "folds", "group", "mpp", "cache_dir", "batch_size", "workers")
"""Keys of the `data` group that every reader shares; the others are fields of the reader."""


@settings
class LoaderSettings(Settings):
    """How samples are loaded.

    Attributes:
        batch_size: training images in a batch of one process: 256 are more than a GPU of 140 GB holds.
        workers: worker processes of a loader, each of some 300 MB; None chooses.
    """

    batch_size: Annotated[int, Field(ge=1, le=256)] = 1
    workers: Annotated[int, Field(ge=0, le=64)] | None = None


def build_datamodule(
    data: Mapping[str, Any],
    *,
    train_transform: Transform,
    val_transform: Transform,
    seed: int,
    total_steps: int,
    accumulate: int = 1,
) -> NucleiDataModule:
    """Make a data module from the plain keys of the `data` group (`conf/data`).

    Args:
        data: `reader` (a name of `READERS`), that reader's fields, and any of `COMMON_KEYS`. `cache_dir` None is the
            user's cache folder here, "none" is no cache.
        train_transform: see `NucleiDataModule`, as the rest.
        val_transform: as above.
        seed: as above.
        total_steps: as above.
        accumulate: as above.

    Raises:
        InputError: for an unknown reader or key, or a value that is not accepted, naming the key.
    """
    reader = _reader(data)
    common = {key: data[key] for key in COMMON_KEYS if key in data}
    cache_dir = common.pop("cache_dir", None)
    if cache_dir is None:
        cache_dir = cache_folder()
    return NucleiDataModule(
        reader,
        train_transform,
        val_transform,
        cache_dir=None if cache_dir == "none" else str(cache_dir),  # a number is a folder's name that YAML has read
        seed=seed,
        total_steps=total_steps,
        accumulate=accumulate,
        **common,
    )


def check_data_keys(data: Mapping[str, Any]) -> None:
    """Check the keys of the `data` group without looking at any file.

    Raises:
        InputError: with every problem of the reader's keys and of those that all readers share.
    """
    problems = Problems()
    problems.taking(lambda: _reader(data))
    if isinstance(data, Mapping):
        common = {key: data[key] for key in ("batch_size", "workers") if key in data}
        problems.taking(lambda: LoaderSettings.from_dict(common, "data"))
    problems.raise_found()


def _reader(data: Mapping[str, Any]) -> Reader:
    """Make the reader that `data.reader` names from the keys that are its fields."""
    if not isinstance(data, Mapping):
        raise InputError(f"data is {data!r}: accepted is a group with the key reader ({', '.join(sorted(READERS))}).")
    name = data.get("reader")
    if not isinstance(name, str) or name not in READERS:
        raise InputError(f"data.reader={name} is not a reader: accepted are {', '.join(sorted(READERS))}.")
    parameters = signature(READERS[name]).parameters
    given = {key: value for key, value in data.items() if key != "reader" and key not in COMMON_KEYS}
    accepted = ", ".join([*parameters, *COMMON_KEYS])
    problems = [
        f"data.{key} is not a key of the reader {name}: accepted are {accepted}."
        for key in given
        if key not in parameters
    ]
    problems += [
        f"data.{key} is missing: the reader {name} cannot do without it."
        for key, parameter in parameters.items()
        if parameter.default is Parameter.empty and given.get(key) is None
    ]
    if problems:
        raise InputError(problems)
    return READERS[name](**given)
