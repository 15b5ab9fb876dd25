"""Explain what Hydra cannot compose: every problem of a command line in one error, with the closest key or option.

Unknown keys and refused values are found by the settings of each command (its function `check`). Here remain unreadable
arguments, choices of groups, prefixes and Hydra's own keys.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nucleiseg.cli.command_line import forced, overrides_of, searched_folders
from nucleiseg.cli.composition_errors import LIBRARIES, module_of, sentence_of, unreadable
from nucleiseg.cli.containers import to_container
from nucleiseg.cli.groups import dotted_keys, group_names
from nucleiseg.cli.shipped import CONF
from nucleiseg.errors import InputError
from nucleiseg.setting_sentences import suggestion, unknown_key
from nucleiseg.settings import Problems


@contextmanager
def configuration_errors(config_name: str | None, arguments: Sequence[str]) -> Iterator[None]:
    """Convert errors of Hydra and OmegaConf in the body to an `InputError` with a sentence for each problem.

    Args:
        config_name: the command's file in `conf`; None if Hydra does not parse its command line.
        arguments: the command line as it was typed.
    """
    try:
        yield
    except InputError:
        raise
    except SystemExit as error:
        if error.code == 1 and module_of(error) == "hydra":  # --package of a key that does not exist
            raise SystemExit(2) from error
        raise
    except Exception as error:
        if not isinstance(error, HydraException | OmegaConfBaseException) and module_of(error) not in LIBRARIES:
            raise
        problems = find_problems(config_name, arguments) if config_name else []
        raise InputError(problems or sentence_of(error)) from error


def find_problems(config_name: str, arguments: Sequence[str]) -> list[str]:
    """Return a sentence for every argument that cannot be composed and every refused value.

    Args:
        config_name: the command's file in `conf`.
        arguments: the command line as it was typed.
    """
    problems = Problems()
    overrides: list[Override] = []
    for text in overrides_of(arguments):
        try:
            overrides += OverridesParser.create().parse_overrides([text])
        except OverrideParseException as error:
            problems.found.append(unreadable(text, error))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        explanation = _Explanation(config_name, arguments)
        found = {id(override): explanation.problem_of(override) for override in overrides}
        problems.found += [problem for problem in found.values() if problem]
        good = [override for override in overrides if found[id(override)] is None]
        if (config := explanation.composed(good)) is not None:
            check = import_module(f"nucleiseg.cli.{config_name}").check
            problems.taking(lambda: check(config))
    return list(dict.fromkeys(problems.found))


class _Explanation:
    """The keys, groups and options of a command, to explain overrides.

    Args:
        config_name: its file in `conf`.
        arguments: the command line.
    """

    def __init__(self, config_name: str, arguments: Sequence[str]) -> None:
        folders = searched_folders(arguments)
        search = [f"file://{folder.resolve()}" for folder in reversed(folders) if folder.is_dir()]
        self.config_name = config_name
        self.search = [f"hydra.searchpath={search}"] if search else []
        self.is_sweep = bool({"-m", "--multirun"} & set(arguments))
        self.loader = GlobalHydra.instance().config_loader()
        self.base = self._compose([])
        self.choices = dict(self.base.hydra.runtime.choices)
        self.groups = {*self.choices, *self.loader.list_groups("")} - {"hydra"}
        self.value_groups = group_names(folders)

    def composed(self, overrides: Sequence[Override]) -> dict[str, Any] | None:
        """Compose overrides, with the first value of each sweep; return None if that fails."""
        lines = [
            f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
            if override.is_discrete_sweep()
            else str(override.input_line)
            for override in overrides
        ]
        try:
            config = self._compose(forced(lines, self.value_groups))
            return to_container(OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"]))
        except (HydraException, OmegaConfBaseException, InputError):
            return None

    def problem_of(self, override: Override) -> str | None:
        """Return why an override cannot be composed; None if it can."""
        if override.key_or_group in self.groups and not isinstance(override.value(), dict):
            return self._of_choice(override)
        return self._of_key(override)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return compose(self.config_name, [*overrides, *self.search], return_hydra_config=True)

    def _of_choice(self, override: Override) -> str | None:
        group, typed = override.key_or_group, str(override.input_line)
        if group not in self.choices:
            return unknown_key(group, self._top_level())
        found = self.loader.get_group_options(group, config_name=self.config_name, overrides=self.search)
        options = [name for name in found if not name.startswith("_")]
        accepted = f"it accepts {', '.join(options)}"
        if override.is_delete():
            return None  # the settings report it as missing
        if override.package is not None or override.is_add() or override.is_force_add():
            given = override.get_value_element_as_str()
            return f"{typed} has a prefix or a package, which groups do not accept: write {group}={given}."
        if override.is_sweep_override() and not self.is_sweep:
            return f"{typed} has several values: add -m for a sweep, or give one; {accepted}."
        value = override.value()
        chosen = [str(item) for item in (value if isinstance(value, list) else [value])]
        if override.is_sweep_override():  # the values of `glob(...)` and ranges are not names of files
            listed = override.sweep_string_iterator() if override.is_discrete_sweep() else ()
            chosen = [str(item).strip("'\"") for item in listed]
        for choice in chosen:
            if choice in ("null", "None"):
                optional = ", or leave it out" if self.choices[group] is None else ""
                return f"{group} is null; {accepted}{optional}."
            if choice not in options:
                meant = suggestion(choice.replace(".", "_"), options)  # dots would make it a key of a group
                close = f"; {meant.replace('mean ', f'mean {group}=')}" if meant.startswith("did") else "."
                return f"{group} is {choice}; {accepted}{close}"
        return None

    def _of_key(self, override: Override) -> str | None:
        key, typed = override.key_or_group, str(override.input_line)
        is_ours = not key.startswith("hydra.")
        exists = OmegaConf.select(self.base, key, throw_on_missing=False) is not None
        if override.is_add() and is_ours and exists and not isinstance(override.value(), dict | list):
            return f"{typed}: {key} exists already, so write {typed[1:]}."
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(self.base, parent) if parent else self.base
        is_known = isinstance(node, DictConfig) and name in node
        if not is_known and (override.is_delete() or not (is_ours or override.is_add() or override.is_force_add())):
            config = OmegaConf.to_container(self.base, resolve=False)
            assert isinstance(config, dict)
            known = dotted_keys({str(name): value for name, value in config.items()})
            return unknown_key(key, [*self._top_level(), *known])
        if override.is_sweep_override() and not self.is_sweep:
            return f"{typed} has several values: add -m for a sweep, or give a list as {key}=[VALUE,VALUE]."
        return None

    def _top_level(self) -> list[str]:
        return sorted({*map(str, self.base), *self.choices} - {"hydra"} - {key for key in self.choices if "/" in key})
