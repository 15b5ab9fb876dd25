"""Explain what Hydra cannot compose: every problem of a command line in one go, with the right key or choice."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice, product
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nucleiseg.cli.command_line import overrides_of, searched_folders
from nucleiseg.errors import InputError

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The folder of the configuration."""

QUOTED = """'input="Köln.png"'"""
"""A quoted value, as it is typed."""

MOST_COMBINATIONS = 32
"""Combinations of a sweep's groups whose keys are looked at."""

LIBRARIES = {"hydra", "omegaconf", "antlr4", "yaml", "argparse"}
"""Packages whose errors while a configuration is composed are about the command line or a YAML file."""


@contextmanager
def configuration_errors(config_name: str | None, arguments: Sequence[str]) -> Iterator[None]:
    """Raise what Hydra and OmegaConf raise in the body as an `InputError` with a sentence for each problem.

    Additions (`+key=`) and deletions (`~key`), which Hydra allows for any key, are checked before the body.

    Args:
        config_name: the command's file in `conf`; None: no command line is explained.
        arguments: the command line.

    Raises:
        InputError: as above.
    """
    unchecked = any(override.startswith(("+", "~")) for override in overrides_of(arguments)) if config_name else False
    if config_name and unchecked and (problems := find_problems(config_name, arguments)):
        raise InputError(problems)
    try:
        yield
    except InputError:
        raise
    except SystemExit as error:
        if error.code == 1 and _module_of(error) == "hydra":  # --package of a key that does not exist
            raise SystemExit(2) from error
        raise
    except Exception as error:
        if not isinstance(error, HydraException | OmegaConfBaseException) and _module_of(error) not in LIBRARIES:
            raise
        problems = find_problems(config_name, arguments) if config_name else []
        raise InputError(problems or sentence_of(error)) from error


def _module_of(error: BaseException) -> str:
    """Return the package that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).partition(".")[0] if frames else ""


def sentence_of(error: BaseException) -> str:
    """Return what one of Hydra's or OmegaConf's errors says, without its advice to append keys and its search path."""
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, error)
    causes = [error.__cause__] if isinstance(error.__cause__, OmegaConfBaseException) else []
    texts = [str(each).partition("Config search path")[0] for each in (error, *causes)]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    noise = ("To append to", "See https", "object_type", "reference_type")
    told = "; ".join(line.rstrip(".") for line in lines if line and not line.startswith(noise))
    return f"The configuration cannot be composed: {told or type(error).__name__}. --cfg job shows it without a run."


def unreadable(override: str, error: OverrideParseException) -> str:
    """Return how to write an argument that is outside Hydra's grammar."""
    if "=" not in override:
        return f"{override!r} is not an argument: settings are given as key=value; --help lists the keys."
    lines = [line.strip() for line in str(error).splitlines()]
    reason = next((line for line in lines if "Error parsing" not in line and "https" not in line), "")
    return (
        f"{override} cannot be read ({reason}). Close every bracket and quote, and quote a value with other "
        f"signs than letters, digits and / . _ - twice, for the shell and for Hydra: {QUOTED}."
    )


def find_problems(config_name: str, arguments: Sequence[str]) -> list[str]:
    """Return a sentence for every override that names an unknown key, group or choice.

    Args:
        config_name: the command's file in `conf`.
        arguments: the command line.
    """
    overrides, problems = [], []
    for text in overrides_of(arguments):
        try:
            overrides += OverridesParser.create().parse_overrides([text])
        except OverrideParseException as error:
            problems.append(unreadable(text, error))
    search = [f"file://{folder.resolve()}" for folder in reversed(searched_folders(arguments)) if folder.is_dir()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return problems + _Explanation(config_name, search, is_sweep=bool({"-m", "--multirun"} & set(arguments))).of(
            overrides
        )


class _Explanation:
    """What a command accepts, to explain overrides by.

    Args:
        config_name: its file in `conf`.
        search: folders of configuration beside `conf`, as `file://` addresses.
        is_sweep: overrides may list several values.
    """

    def __init__(self, config_name: str, search: list[str], *, is_sweep: bool) -> None:
        self.command = f"{config_name}.py"
        self.config_name = config_name
        self.search = [f"hydra.searchpath={search}"] if search else []
        self.is_sweep = is_sweep
        self.loader = GlobalHydra.instance().config_loader()
        self.base = self._compose([])
        self.choices = dict(self.base["hydra"]["runtime"]["choices"])
        self.groups = {*self.choices, *self.loader.list_groups("")} - {"hydra"}

    def of(self, overrides: Sequence[Override]) -> list[str]:
        """Return the problems of the overrides, in their order."""
        choices = [each for each in overrides if each.key_or_group in self.groups and not _is_dict(each)]
        found = {id(each): self._of_choice(each) for each in choices}
        good = [each for each in choices if found[id(each)] is None and not each.is_delete()]
        configs = list(self._compositions(good))
        problems = []
        for override in overrides:
            if override in choices:
                problem = found[id(override)]
            else:
                problem = next((told for config in configs if (told := self._of_key(override, config))), None)
            if problem and problem not in problems:
                problems.append(problem)
        return problems

    def _compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        config = compose(self.config_name, [*overrides, *self.search], return_hydra_config=True)
        container = OmegaConf.to_container(config, resolve=False)
        assert isinstance(container, dict)
        return {str(key): value for key, value in container.items()}

    def _compositions(self, choices: Sequence[Override]) -> Iterator[dict[str, Any]]:
        """Yield the configuration for each combination of chosen files."""
        options = {each.get_key_element(): _choices_of(each) for each in choices}
        for combination in islice(product(*options.values()), MOST_COMBINATIONS):
            try:
                yield self._compose([f"{key}={choice}" for key, choice in zip(options, combination, strict=True)])
            except (HydraException, OmegaConfBaseException):
                yield self.base

    def _of_choice(self, override: Override) -> str | None:
        group, typed = override.key_or_group, str(override.input_line)
        if group not in self.choices:
            return f"{typed}: {self.command} does not use the group {group}; {self._accepted_at_the_top()}."
        found = self.loader.get_group_options(group, config_name=self.config_name, overrides=self.search)
        options = [name for name in found if not name.startswith("_")]
        accepted = f"accepted are {', '.join(options)}"
        default = self.choices[group]
        if override.is_delete():
            return None if default is None else f"{typed}: {self.command} cannot do without {group}; {accepted}."
        if override.package is not None or override.is_add() or override.is_force_add():
            return f"{typed}: write {group}={override.get_value_element_as_str()}; a group is chosen without + and @."
        if override.is_sweep_override() and not self.is_sweep:
            return f"{typed} gives several values: add -m to do each of them, or give one; {accepted}."
        for choice in _choices_of(override):
            if choice in ("null", "None"):
                meant = f"leave {group}= out" if default is None else accepted
                return f"{group}=null: a group cannot be null; {meant}."
            if choice not in options:
                close = f" Did you mean {group}={match[0]}?" if (match := get_close_matches(choice, options, 1)) else ""
                return f"{group}={choice} does not exist: {accepted}.{close}"
        return None

    def _top_level(self) -> list[str]:
        return sorted({*self.base, *self.choices} - {"hydra"} - {key for key in self.choices if "/" in key})

    def _accepted_at_the_top(self) -> str:
        return f"{self.command} accepts {', '.join(self._top_level())}"

    def _of_key(self, override: Override, config: dict[str, Any]) -> str | None:
        key, typed = override.key_or_group, str(override.input_line)
        if key.startswith("hydra.") and typed.startswith("+"):
            return None  # open for additions: hydra.sweeper.params, hydra.job.env_set
        if problem := self._of_path(key, config):
            return f"{typed}: {problem}"
        if override.is_delete():
            return f"{typed}: no key can be removed; give {key}=VALUE (null switches off what can be), or leave it out."
        if override.is_add() and not _is_dict(override):
            return f"{typed}: {key} exists already, so write {typed[1:]}."
        if override.is_sweep_override() and not self.is_sweep:
            return f"{typed} gives several values: add -m to run each of them, or give a list as {key}=[VALUE,VALUE]."
        return None

    def _of_path(self, key: str, config: dict[str, Any]) -> str | None:
        """Return why a key leads to nothing in a configuration, None if it exists."""
        node: Any = config
        parts = key.split(".")
        for depth, part in enumerate(parts):
            parent = ".".join(parts[:depth])
            if isinstance(node, list) and part.isdigit():
                if int(part) >= len(node):
                    return f"{parent} has {len(node)} values, counted from 0."
                node = node[int(part)]
            elif isinstance(node, dict):
                if part not in node:
                    return self._unknown(parts[: depth + 1], node, config)
                node = node[part]
            elif isinstance(node, str) and ("${" in node or node == "???"):
                return None
            else:
                return f"{parent} holds a value and has no keys; give {parent}=VALUE."
        return None

    def _unknown(self, parts: Sequence[str], siblings: dict[str, Any], config: dict[str, Any]) -> str:
        *parents, name = parts
        prefix = "".join(f"{parent}." for parent in parents)
        known = sorted(siblings) if parents else self._top_level()
        matches = [f"{prefix}{match}" for match in get_close_matches(name, known, 2)]
        elsewhere = [key for key in _dotted(config) if key.rpartition(".")[2] == name and not key.startswith("hydra.")]
        meant = f" (did you mean {' or '.join((matches or elsewhere)[:3])}?)" if matches or elsewhere else ""
        accepts = f"{'.'.join(parents)} accepts {', '.join(known)}" if parents else self._accepted_at_the_top()
        return f"{prefix}{name} is not a key{meant}; {accepts}."


def _is_dict(override: Override) -> bool:
    return isinstance(override.value(), dict)


def _choices_of(override: Override) -> list[str]:
    """Return the files that a choice of a group names."""
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            return []
        return [str(value).strip("'\"") for value in override.sweep_string_iterator()]
    value = override.value()
    return [str(item) for item in (value if isinstance(value, list) else [value])]


def _dotted(config: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every key of a configuration that holds a value, `optim.lr`."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
