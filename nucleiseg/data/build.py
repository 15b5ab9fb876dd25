"""Build readers and data modules from mappings, as `conf/data` and a run's `config.yaml` hold them."""

from collections.abc import Mapping
from typing import Any

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.dataset import Transform
from nucleiseg.data.reader_keys import read_keys
from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.settings import DataSettings


def read_data_keys(data: object, key: str = "data") -> tuple[Reader, DataSettings]:
    """Check the keys of a data set and build its reader, without looking at any file; see `reader_keys.read_keys`."""
    return read_keys(data, key, READERS)


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
