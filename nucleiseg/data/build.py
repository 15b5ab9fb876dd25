"""Build readers and data modules from mappings, as `conf/data` and a run's `config.yaml` hold them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.dataset import Transform
from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.settings import DataSettings
from nucleiseg.errors import InputError
from nucleiseg.settings import Problems, shown, unknown_key


def read_data_keys(data: object, key: str = "data") -> tuple[Reader, DataSettings]:
    """Check the keys of a data set and build its reader, without looking at any file.

    Args:
        data: a mapping with `reader` (a name of `READERS`), that reader's fields and those of `DataSettings`.
        key: what comes before a field's name for the user.

    Raises:
        InputError: with a sentence for each unknown or missing key and each value that is not accepted.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{key} is {shown(data)}; it accepts a group of keys with {key}.reader.")
    name = data.get("reader")
    if not isinstance(name, str) or name not in READERS:
        raise InputError(f"{key}.reader is {shown(name)}; it accepts one of {', '.join(sorted(READERS))}.")
    reader_keys = {item.name for item in fields(READERS[name])}
    shared_keys = {item.name for item in fields(DataSettings)}
    known = [f"{key}.{item}" for item in ("reader", *reader_keys, *shared_keys)]
    problems = Problems()
    problems.found += [unknown_key(f"{key}.{item}", known) for item in data if f"{key}.{item}" not in known]
    own = {item: value for item, value in data.items() if item in reader_keys}
    shared = {item: value for item, value in data.items() if item in shared_keys}
    reader = problems.taking(lambda: READERS[name].from_dict(own, key))
    settings = problems.taking(lambda: DataSettings.from_dict(shared, key))
    problems.raise_found()
    assert reader is not None
    assert settings is not None
    return reader, settings


def build_datamodule(
    data: Mapping[str, Any],
    *,
    train_transform: Transform,
    val_transform: Transform,
    seed: int,
    total_steps: int,
    accumulate: int = 1,
) -> NucleiDataModule:
    """Build a data module from the keys of a data set.

    Args:
        data: see `read_data_keys`.
        train_transform: see `NucleiDataModule`, as the rest.
        val_transform: as above.
        seed: as above.
        total_steps: as above.
        accumulate: as above.

    Raises:
        InputError: see `read_data_keys`.
    """
    reader, settings = read_data_keys(data)
    return NucleiDataModule(
        reader.resolve(),
        train_transform,
        val_transform,
        settings,
        seed=seed,
        total_steps=total_steps,
        accumulate=accumulate,
    )
