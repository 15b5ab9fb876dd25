"""Prepare a command line for Hydra: keep names as typed, compose unknown keys too, find the chosen groups."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from hydra.main import get_args_parser

from nucleiseg.cli.groups import group_names
from nucleiseg.cli.overrides import quoted
from nucleiseg.errors import InputError
from nucleiseg.files import expanded_home
from nucleiseg.progress import echo
from nucleiseg.renamed_keys import RENAMED

PATHS = (
    *("data.root", "data.cache_dir", "model.weights", "sweep.dir", "hydra.run.dir", "hydra.sweep.dir"),
    *("checkpoint", "input", "output", "ids", "predictions", "truth", "runs", "submitted", "edited"),
    *("cache_dir", "export"),
)
"""Keys of all commands whose values are paths, or lists of paths."""

NAMES = (*PATHS, "experiment", "note")
"""Keys whose values are text, even where YAML reads another type: 2024.10, 1e5 and true are names."""

SWEPT_GROUPS = "NUCLEISEG_SWEPT_GROUPS"
"""Environment variable of a sweep's jobs: the groups that `hydra.sweeper.params` of the experiment vary."""


def as_typed(argument: str) -> str:
    """Quote the value of a key in `NAMES`, so that Hydra reads it as it was typed; return other arguments unchanged.

        as_typed("data.root=2024.10") -> "data.root='2024.10'"      (a number would lose its last digit)
        as_typed("input=~/Köln (1)")  -> "input='/home/me/Köln (1)'"

    Text, null and sweeps over text need no quotes. `logger=null`, the earlier form, becomes `logger=none`.

    Raises:
        InputError: for an empty path, or a sweep whose numbers cannot be taken as typed.
    """
    key, equals, text = argument.partition("=")
    if key in ("callbacks", "logger") and text in ("null", "None"):
        echo(f"Note: {argument} is now {key}=none.")
        return f"{key}=none"
    name = key.lstrip("+")
    is_list = text.startswith("[") and text.endswith("]")
    if not equals or not (name in NAMES or (name == "data.val" and is_list)):
        return argument
    if not text.strip() and name != "note":
        raise InputError(f"{key}= has no value: give {key}=VALUE, or leave it out.")
    if is_list and not set(text[1:-1]) & set("[]{}()'\""):
        return f"{key}=[{','.join(_element(element.strip()) for element in text[1:-1].split(','))}]"
    try:
        value = _read(text)
    except HydraException:
        value = None  # outside the grammar: a name
    if isinstance(value, ChoiceSweep):
        elements = text.split(",")
        if value.simple_form and len(elements) == len(value.list):
            return f"{key}={','.join(map(_element, elements))}"
        if any(isinstance(element, bool | int | float) for element in value.list):
            raise InputError(f"{argument}: some of these names look like numbers; quote each of them: {key}='a','b'.")
    return f"{key}={_element(text)}"


def _read(text: str) -> Any:  # noqa: ANN401
    """Parse a value; raise a HydraException if it is outside Hydra's grammar."""
    return OverridesParser.create().parse_override(f"name={text}").value()


def _element(text: str) -> str:
    """Quote a name that Hydra would not read as text."""
    expanded = expanded_home(text)
    try:
        value = _read(expanded)
    except HydraException:
        # Outside Hydra's grammar, so a name; one with commas may be meant as a sweep, which Hydra then refuses.
        return text if "," in expanded else quoted(PurePath(expanded))
    return quoted(PurePath(expanded.strip())) if isinstance(value, bool | int | float) else expanded


FORCE = "++"
"""Hydra's prefix of an override that also sets a key which the configuration lacks."""

VALUE = re.compile(r"([A-Za-z_][\w.]*)=", re.ASCII)
"""Start of an override of a value: without prefix, package or a group in a folder (`hydra/launcher`)."""

_forced_keys: set[str] = set()
"""Keys that `forced` has prefixed in this process, for `without_force`."""

SCHEDULE_KEYS = ("warmup", "warmup_factor", "milestones", "gamma", "final_factor", "total_steps")

MOVED = RENAMED | {f"optim.{key}": f"optim.schedule.{key}" for key in SCHEDULE_KEYS}
"""Earlier key -> current key, so that commands of earlier versions keep working."""


def forced(overrides: Sequence[str], groups: Collection[str]) -> list[str]:
    """Prefix the overrides that change a value with `++`.

    Hydra stops at the first unknown key. With `++` it composes all keys, and the settings then report every unknown key
    and every refused value in one error.

        forced(["optim.lr=-1", "model=r50_c4", "~seed"], ["model"]) -> ["++optim.lr=-1", "model=r50_c4", "~seed"]

    Args:
        overrides: of a command line, without its flags.
        groups: the names of the configuration groups; their choices and Hydra's own keys are not prefixed.
    """

    def is_value(override: str) -> bool:
        match = VALUE.match(override)
        if match is None or override.startswith("hydra."):
            return False
        return match[1] not in groups or override[match.end() :].startswith("{")

    values = [override for override in overrides if is_value(override)]
    _forced_keys.update(override.partition("=")[0] for override in values)
    return [f"{FORCE}{override}" if override in values else override for override in overrides]


def forced_arguments(arguments: Sequence[str]) -> list[str]:
    """Return a command line with the current names of keys and with `forced` overrides; flags stay unchanged."""
    groups = group_names(searched_folders(arguments))
    current = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key in MOVED:
            echo(f"Note: {key} is now {MOVED[key]}.")
            argument = f"{MOVED[key]}={value}"
        current.append(argument)
    overrides = overrides_of(current)
    return [forced([argument], groups)[0] if argument in overrides else argument for argument in current]


def without_force(override: str) -> str:
    """Remove the `++` that `forced` added to an override; one that was typed stays."""
    typed = override.removeprefix(FORCE)
    return typed if typed.partition("=")[0] in _forced_keys else override


def overrides_of(arguments: Sequence[str]) -> list[str]:
    """Return the overrides of a command line, without Hydra's flags."""
    given = get_args_parser().parse_known_args(list(arguments))[0]
    # after -sc (query=bash, install=fish) there are no overrides
    return [] if given.shell_completion else list(given.overrides)


def parse(overrides: Iterable[str]) -> list[Override]:
    """Parse overrides, leaving out those outside Hydra's grammar."""
    parser = OverridesParser.create()
    parsed = []
    for override in overrides:
        try:
            parsed.append(parser.parse_override(override))
        except HydraException:
            continue
    return parsed


def chosen_groups(overrides: Iterable[str]) -> dict[str, str]:
    """Return overrides that may choose groups, by key: `{"aug": "aug=none"}`.

    A dict (`aug={crop:null}` changes keys) and a deletion choose nothing, and groups that the experiment's sweep varies
    (`SWEPT_GROUPS`) were not chosen on the command line.
    """
    swept = os.environ.get(SWEPT_GROUPS, "").split(",")
    return {
        override.key_or_group: override.input_line or ""
        for override in parse(overrides)
        if not override.is_delete() and not isinstance(override.value(), dict) and override.key_or_group not in swept
    }


def repeated_keys(arguments: Sequence[str]) -> list[str]:
    """Return a sentence for every key with several different values, of which Hydra takes the last."""
    given: dict[str, list[str]] = {}
    for argument in arguments:
        key, equals, _ = argument.partition("=")
        if equals and argument not in given.setdefault(key, []):
            given[key].append(argument)
    return [
        f"{key} is given {len(values)} times; the last one counts: {values[-1]}."
        for key, values in given.items()
        if len(values) > 1 and not key.startswith("-")
    ]


def searched_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the folders that `--config-dir` and `hydra.searchpath` add, in ascending precedence."""
    given = get_args_parser().parse_known_args(list(arguments))[0]
    places: list[str] = []
    for override in parse(given.overrides):
        value = override.value()
        if override.key_or_group == "hydra.searchpath" and isinstance(value, list):
            places = [place for place in map(str, value) if place.startswith("file://") or "://" not in place]
    folders = [Path(place.removeprefix("file://")) for place in reversed(places)]
    return [*folders, Path(given.config_dir)] if given.config_dir else folders


def with_fetch_as_list(arguments: Sequence[str]) -> list[str]:
    """Write `fetch=a,b` of the command `zoo`, which Hydra would read as a sweep, as the list `fetch=[a,b]`."""
    return [re.sub(r"^fetch=([^\[].*)?$", r"fetch=[\1]", argument) for argument in arguments]
