"""Read a command line before Hydra does: names as they were typed, and the groups that were chosen."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.errors import HydraException
from hydra.main import get_args_parser

from nucleiseg.cli.overrides import quoted
from nucleiseg.errors import InputError

PATHS = (
    *("data.root", "data.cache_dir", "model.weights", "sweep.dir", "hydra.run.dir", "hydra.sweep.dir"),
    *("checkpoint", "input", "output", "ids", "predictions", "truth", "runs", "submitted", "cache_dir", "export"),
)
"""Keys of all commands whose values are paths, or lists of paths."""

NAMES = (*PATHS, "experiment", "note")
"""Keys whose values are text, whatever YAML would make of it: 2024.10, 1e5 and true are names."""

SWEPT_GROUPS = "NUCLEISEG_SWEPT_GROUPS"
"""Environment variable of a sweep's jobs: groups that the experiment's own `hydra.sweeper.params` vary."""


def as_typed(argument: str) -> str:
    """Return an argument whose value, where its key is one of `NAMES`, Hydra reads as it was typed.

        as_typed("data.root=2024.10") -> "data.root='2024.10'"      (a number would lose its last digit)
        as_typed("input=~/Köln (1)")  -> "input='/home/me/Köln (1)'"

    What Hydra's grammar reads as text, null, or a sweep over texts stays as it is.

    Raises:
        InputError: for an empty path, or a sweep whose numbers cannot be taken as typed.
    """
    key, equals, text = argument.partition("=")
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
        value = None  # a name as it stands
    if isinstance(value, ChoiceSweep):
        elements = text.split(",")
        if value.simple_form and len(elements) == len(value.list):
            return f"{key}={','.join(map(_element, elements))}"
        if any(isinstance(element, bool | int | float) for element in value.list):
            raise InputError(f"{argument}: some of these names look like numbers; quote each of them: {key}='a','b'.")
    return f"{key}={_element(text)}"


def _read(text: str) -> Any:  # noqa: ANN401
    """Return what Hydra's grammar makes of a value.

    Raises:
        HydraException: if it is outside the grammar.
    """
    return OverridesParser.create().parse_override(f"name={text}").value()


def _element(text: str) -> str:
    """Return one name, quoted where Hydra would read something else than text."""
    expanded = expanded_home(text)
    try:
        value = _read(expanded)
    except HydraException:
        # Not within Hydra's grammar, so a name as it stands; with commas it may have been meant as a sweep.
        return text if "," in expanded else quoted(PurePath(expanded))
    return quoted(PurePath(expanded.strip())) if isinstance(value, bool | int | float) else expanded


def expanded_home(path: str) -> str:
    """Return a path with a leading `~` as the user's home; `~nobody` stays a name."""
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 - pathlib raises for ~nobody


def path_text(value: Any, key: str) -> Any:  # noqa: ANN401
    """Return a path of a YAML file as text: `~` is the user's home, 2024 a name; null and lists of paths stay such.

    Raises:
        InputError: for what YAML has read as something that cannot be turned back (2024.10 became 2024.1).
    """
    if isinstance(value, list):
        return [path_text(item, key) for item in value]
    if isinstance(value, bool | float):
        raise InputError(f"{key} was read as {value!r}, not as a name: quote it where it is written, {key}: 'NAME'.")
    if isinstance(value, int):
        return str(value)
    return expanded_home(value) if isinstance(value, str) else value


def with_path_texts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which every value of `PATHS` is text (see `path_text`), mappings copied.

    Raises:
        InputError: as `path_text`.
    """

    def convert(mapping: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        converted = {}
        for name, value in mapping.items():
            key = f"{prefix}{name}"
            if isinstance(value, Mapping):
                converted[str(name)] = convert(value, f"{key}.")
            else:
                converted[str(name)] = path_text(value, key) if key in PATHS else value
        return converted

    return convert(config, "")


def resume_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments beside `resume=` as typed, and its folder without quotes and `~`: Hydra reads none of them.

    Args:
        arguments: the command line of a resumed run.

    Raises:
        InputError: as `as_typed`, or for an empty folder.
    """

    def folder(text: str) -> str:
        is_quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        if not (path := text[1:-1] if is_quoted else text):
            raise InputError("resume= has no value: give the folder of a run, such as resume=runs/NAME.")
        return f"resume={expanded_home(path)}"

    return [
        folder(argument.removeprefix("resume=")) if argument.startswith("resume=") else as_typed(argument)
        for argument in arguments
    ]


def overrides_of(arguments: Sequence[str]) -> list[str]:
    """Return the overrides of a command line, without Hydra's flags."""
    return list(get_args_parser().parse_known_args(list(arguments))[0].overrides)


def parse(overrides: Iterable[str]) -> list[Override]:
    """Return the overrides that are within Hydra's grammar, parsed."""
    parser = OverridesParser.create()
    parsed = []
    for override in overrides:
        try:
            parsed.append(parser.parse_override(override))
        except HydraException:
            continue
    return parsed


def chosen_groups(overrides: Iterable[str]) -> dict[str, str]:
    """Return what may be choices of groups, `{"aug": "aug=none"}`: one value, or several in a sweep.

    A dict is no choice (`aug={crop:null}` changes keys), nor is a deletion; groups that an experiment's own sweep
    varies (`SWEPT_GROUPS`) were not chosen on the command line.
    """
    swept = os.environ.get(SWEPT_GROUPS, "").split(",")
    return {
        override.key_or_group: override.input_line or ""
        for override in parse(overrides)
        if not override.is_delete() and not isinstance(override.value(), dict) and override.key_or_group not in swept
    }


def repeated_keys(arguments: Sequence[str]) -> list[str]:
    """Return a sentence for every key that is given several times with different values: Hydra takes the last."""
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
    """Return the folders that `--config-dir` and `hydra.searchpath` add, those of later precedence first."""
    given = get_args_parser().parse_known_args(list(arguments))[0]
    places: list[str] = []
    for override in parse(given.overrides):
        value = override.value()
        if override.key_or_group == "hydra.searchpath" and isinstance(value, list):
            places = [place for place in map(str, value) if place.startswith("file://") or "://" not in place]
    folders = [Path(place.removeprefix("file://")) for place in reversed(places)]
    return [*folders, Path(given.config_dir)] if given.config_dir else folders
