"""Studies: every folder of `experiments/` is an option of the configuration group `experiment`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nucleiseg.cli.command_line import chosen_groups, overrides_of, parse, searched_folders
from nucleiseg.errors import InputError
from nucleiseg.progress import echo
from nucleiseg.run_folder import flatten

HYDRA_FILE = "experiment.yaml"
"""The Hydra file in a study's folder: overrides of the whole configuration, with a defaults list of its own."""

GROUP = "experiment"
"""The configuration group of the studies."""


@dataclass(frozen=True)
class Study:
    """A registered study: its YAML file, and its content as it is composed."""

    file: Path
    node: DictConfig


STUDIES: dict[str, Study] = {}
"""The registered studies by name, which `hydra_plugins.nucleiseg_studies` adds to Hydra's search path."""

GLOBAL_PACKAGE = re.compile(r"\s*#\s*@package\s+_global_\s*$", re.MULTILINE)
"""The header of a file whose keys belong to the top of the configuration."""


def register_studies(folder: Path, arguments: Sequence[str] = ()) -> list[str]:
    """Register the studies, so that `experiment=NAME` finds `folder/NAME/experiment.yaml` from any working directory.

    A group chosen on the command line replaces the study's section of that group, which Hydra's defaults lists cannot
    express: the section is dropped here, with a message. Studies in the folder `experiment` of `--config-dir` and
    `hydra.searchpath` are registered too.

    Args:
        folder: the folder of the studies.
        arguments: the command line.

    Returns:
        The names of the studies.

    Raises:
        InputError: if a study named on the command line cannot be read.
    """
    overrides = overrides_of(arguments)
    groups = chosen_groups(overrides)
    chosen = _chosen_studies(overrides)
    STUDIES.clear()
    files = {file.parent.name: file for file in sorted(folder.glob(f"*/{HYDRA_FILE}"))}
    for place in searched_folders(arguments):
        files |= {
            file.stem: file
            for file in sorted(place.glob("experiment/*.yaml"))
            if GLOBAL_PACKAGE.search(file.read_text(encoding="utf-8", errors="replace"))
        }
    for name, file in files.items():
        try:
            node = OmegaConf.load(file)
        except (YAMLError, OmegaConfBaseException, OSError, UnicodeDecodeError) as error:
            if name in chosen:
                raise InputError(f"experiment={name}: {file} cannot be read as YAML: {error}") from error
            continue
        if not isinstance(node, DictConfig):
            if name in chosen:
                raise InputError(f"experiment={name}: {file} holds no keys; see experiments/demo/{HYDRA_FILE}.")
            continue
        for group, values in _drop_sections(node, groups).items():
            if name in chosen:
                echo(
                    f"{groups[group]} was chosen on the command line, so the values of experiment {name} for {group} "
                    f"are left out: {', '.join(values)}."
                )
        STUDIES[name] = Study(file, node)
    return list(files)


def _chosen_studies(overrides: Sequence[str]) -> set[str]:
    """Return the names in the last `experiment=`, which may be a list or a sweep."""
    chosen: set[str] = set()
    for override in parse(overrides):
        if override.key_or_group == GROUP and not override.is_delete():
            value = override.value()
            chosen = set(map(str, getattr(value, "list", value if isinstance(value, list) else [value])))
    return chosen


def _drop_sections(node: DictConfig, groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Remove the sections of groups from a study; return their values as overrides (`resize.short=256`)."""
    left_out = {}
    for group in groups:
        *parents, name = group.split("/")
        parent: Any = node
        for part in parents:
            parent = parent.get(part) if isinstance(parent, DictConfig) else None
        if isinstance(parent, DictConfig) and isinstance(parent.get(name), DictConfig):
            section: Any = OmegaConf.to_container(parent.pop(name), resolve=False)
            # JSON writes null, true and [0.5,2] as YAML does
            texts = {
                key: value if isinstance(value, str) else json.dumps(value, separators=(",", ":")).replace('"', "")
                for key, value in flatten(section).items()
            }
            left_out[group] = [f"{key}={text}" for key, text in texts.items()] or ["nothing"]
    return left_out
