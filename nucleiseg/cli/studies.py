"""Studies: every folder of `experiments/` is an option of the configuration group `experiment`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from nucleiseg.cli.command_line import chosen_groups, overrides_of, parse, searched_folders
from nucleiseg.errors import InputError
from nucleiseg.progress import echo

HYDRA_FILE = "experiment.yaml"
"""The Hydra file in a study's folder: overrides of the whole configuration, with a defaults list of its own."""

GROUP = "experiment"
"""The configuration group of the studies."""


@dataclass(frozen=True)
class Study:
    """A study as Hydra gets it.

    Attributes:
        file: where it was read.
        node: its keys and defaults list.
    """

    file: Path
    node: DictConfig


STUDIES: dict[str, Study] = {}
"""The registered studies by their names: the source of configuration `hydra_plugins.nucleiseg_studies` reads them."""

GLOBAL_PACKAGE = re.compile(r"\s*#\s*@package\s+_global_\s*$", re.MULTILINE)
"""The header by which Hydra takes a file's keys for those of the whole configuration."""


def register_studies(folder: Path, arguments: Sequence[str] = ()) -> list[str]:
    """Make `experiment=NAME` find `folder/NAME/experiment.yaml`, from any working directory.

    A group chosen on the command line replaces the study's section of that group, which Hydra's defaults lists cannot
    express: the section is dropped here, and a sentence lists its values. The same holds for studies in the folder
    `experiment` of `--config-dir` and `hydra.searchpath`, which are registered too.

    Args:
        folder: the folder of the studies.
        arguments: the command line.

    Returns:
        The names of the studies.

    Raises:
        InputError: if a study that the command line names cannot be read.
    """
    overrides = overrides_of(arguments)
    groups = chosen_groups(overrides)
    # the last `experiment=` counts; it may name several, in a list or a sweep
    chosen: set[str] = set()
    for override in parse(overrides):
        if override.key_or_group == GROUP and not override.is_delete():
            value = override.value()
            chosen = set(map(str, getattr(value, "list", value if isinstance(value, list) else [value])))
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


def _drop_sections(node: DictConfig, groups: Mapping[str, str]) -> dict[str, list[str]]:
    """Take the sections of the groups out of a study; return their values as they would be typed."""
    left_out = {}
    for group in groups:
        *parents, name = group.split("/")
        parent: Any = node
        for part in parents:
            parent = parent.get(part) if isinstance(parent, DictConfig) else None
        if isinstance(parent, DictConfig) and isinstance(parent.get(name), DictConfig):
            section = OmegaConf.to_container(parent.pop(name), resolve=False)
            left_out[group] = list(_as_overrides(section)) or ["nothing"]
    return left_out


def _as_overrides(section: Any, prefix: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yield `resize.short=256` for every value of a section."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _as_overrides(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={_as_value(value)}"


def _as_value(value: Any) -> str:  # noqa: ANN401
    """Return a value as it is typed: null, true, [0.5,2]."""
    if isinstance(value, list):
        return f"[{','.join(map(_as_value, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
