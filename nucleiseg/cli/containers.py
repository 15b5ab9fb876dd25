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
    """Convert a composed configuration to dicts, lists and scalars, with resolved interpolations and paths as text.

    Mandatory keys (`???`) without a value are omitted; the settings report them with all other problems.

    Raises:
        InputError: for an interpolation of an unknown key or environment variable.
    """
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
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
    """Copy a configuration with its paths as text (`files.path_text`): a folder 2024 is a number in YAML.

    Args:
        config: the configuration, or one of its groups.
        prefix: of its keys: `data.`.
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
