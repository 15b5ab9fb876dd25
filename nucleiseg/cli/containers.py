"""Convert composed configurations to dicts and lists."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nucleiseg.cli.command_line import PATHS
from nucleiseg.cli.composition_errors import sentence_of
from nucleiseg.errors import InputError
from nucleiseg.files import path_text


def to_container(config: DictConfig) -> dict[str, Any]:
    """Convert a composed configuration to dicts, lists and scalars, interpolations resolved, paths as text.

    A mandatory key (`???`) without a value is left out, so that the settings report it as missing with all other
    problems.

    Raises:
        InputError: for an interpolation that leads nowhere.
    """
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:  # ${...} of a key or a variable that does not exist
        raise InputError(sentence_of(error)) from error
    assert isinstance(container, dict)
    return with_path_texts(_without_missing(container))


def _without_missing(config: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key): _without_missing(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if value != "???"
    }


def with_path_texts(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration whose paths are text (`files.path_text`), mappings copied.

    Args:
        config: as YAML has it, where 2024 may be a folder.
        prefix: what comes before its keys, `data.`.
    """
    converted: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            converted[str(name)] = with_path_texts(value, f"{key}.")
        elif key in PATHS:
            converted[str(name)] = [path_text(item) for item in value] if isinstance(value, list) else path_text(value)
        else:
            converted[str(name)] = value
    return converted
