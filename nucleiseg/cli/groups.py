"""Configuration groups: their names and options."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nucleiseg.cli.shipped import CONF
from nucleiseg.settings import Problems

Built = TypeVar("Built")

STUDIES_GROUP = "experiment"
"""The configuration group of the studies, which has no folder in `conf`."""


def group_names(folders: Iterable[Path] = ()) -> set[str]:
    """Return the names of the configuration groups: the folders of `conf` and of others, and the studies."""
    found = {path.name for folder in (CONF, *folders) if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return {STUDIES_GROUP, *found}


def options(group: str) -> list[str]:
    """Return the files of a group in `conf` that can be chosen."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if not file.stem.startswith("_"))


def take_group(
    problems: Problems, config: Mapping[str, Any], group: str, build: Callable[[Any], Built]
) -> Built | None:
    """Return the settings of a group of a configuration; None where it is missing or refused, which is collected.

    Args:
        problems: collect the problems here.
        config: the composed configuration.
        group: the key of the group.
        build: make its settings, raising an `InputError`.
    """
    if group in config:
        return problems.taking(lambda: build(config[group]))
    accepted = ", ".join(options(group)) or "a group of keys"
    problems.found.append(f"{group} is missing; it accepts {accepted}.")
    return None
