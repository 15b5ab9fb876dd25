"""Configuration groups: their names and options, and their keys in errors of library code."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from nucleiseg.cli.shipped import CONF
from nucleiseg.errors import InputError
from nucleiseg.settings import Problems

Built = TypeVar("Built")

STUDIES_GROUP = "experiment"
"""The configuration group of the studies, which has no folder in `conf`."""


def group_names(folders: Iterable[Path] = ()) -> set[str]:
    """Return the names of the configuration groups: the folders of `conf` and of `folders`, and the studies."""
    found = {path.name for folder in (CONF, *folders) if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return {STUDIES_GROUP, *found}


def options(group: str) -> list[str]:
    """Return the options of a group in `conf`."""
    return sorted(file.stem for file in (CONF / group).glob("*.yaml") if not file.stem.startswith("_"))


def take_group(
    problems: Problems, config: Mapping[str, Any], group: str, build: Callable[[Any], Built]
) -> Built | None:
    """Return the settings of a group; None, with the problems collected, if it is missing or refused.

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


def dotted_keys(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield every key of a configuration, groups and nested keys: `model`, `model.norm`, ..."""
    for name, value in config.items():
        yield (key := f"{prefix}{name}")
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{key}.")


@contextmanager
def qualified_errors(config: Mapping[str, Any]) -> Iterator[None]:
    """Name the parameters in an `InputError` of the body by their command-line keys, as `qualified` does.

    Args:
        config: group -> its keys; several groups of a composed configuration may be given, other values are ignored.
    """
    try:
        yield
    except InputError as error:
        raise InputError([qualified(problem, config) for problem in error.problems]) from error


def qualified(sentence: str, config: Mapping[str, Any]) -> str:
    """Return a sentence of library code, which knows no groups, with command-line keys in place of its parameters.

    Many parameters are common words, so only these mentions count: `norm=gn`, `anchors.sizes`, `norm is ...` at the
    start of a clause, `set norm ...` and `(norm)`.

    >>> qualified("norm is x; it accepts gn with freeze_at=0.", {"model": {"norm": "x", "freeze_at": 2}})
    'model.norm is x; it accepts gn with model.freeze_at=0.'
    """
    groups = {group: keys for group, keys in config.items() if isinstance(keys, Mapping)}
    keys = {key: f"{group}.{key}" for group in reversed(groups) for key in dotted_keys(groups[group])}
    if not keys:
        return sentence
    names = "|".join(map(re.escape, sorted(keys, key=len, reverse=True)))  # the longest first: `resize.short`, `resize`

    def replaced(match: re.Match[str]) -> str:
        before, after = sentence[: match.start()], sentence[match.end() :]
        is_subject = re.search(r"(^|[:;,] |\b(but|since|if) )$", before) and re.match(r" (is|has|names) ", after)
        is_object = re.search(r"\b(set|check|raise|lower) $", before)
        is_named = before.endswith("(") and after.startswith(")")
        is_key = "." in match[0] or is_subject or is_object or is_named or re.match(r"=[^=\s]", after)
        return keys[match[0]] if is_key else match[0]

    # not within a path, a longer key or a quoted name
    return re.sub(rf"(?<![\w./='-])(?:{names})(?![\w/-]|\.\w)", replaced, sentence)
