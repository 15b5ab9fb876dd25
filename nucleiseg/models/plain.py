"""Frozen dataclasses from plain mappings and back, with errors that name the key and what it accepts."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nucleiseg.errors import InputError

Config = TypeVar("Config")


def from_mapping(cls: type[Config], mapping: Mapping[str, Any], prefix: str) -> Config:
    """Build the dataclass `cls` from a mapping of its field names; absent fields keep their defaults.

    Args:
        cls: a dataclass whose fields are str, int, float, bool, Literal, tuples of these, `... | None`, dicts (taken
            as they are), or dataclasses of the same kind.
        mapping: plain Python (dicts, lists, numbers, strings), as YAML gives it.
        prefix: the key under which the user knows the mapping ("model"), for error messages; empty for the keys of a
            whole configuration.

    Returns:
        An instance of `cls`; lists have become tuples, whole numbers floats where the field is a float, and text where
        they are one of its choices (`precision=32`, which YAML reads as a number).

    Raises:
        InputError: for something else than a mapping, an unknown key, a missing one without a default, or a value of
            the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"{prefix} is {mapping!r}; it accepts {_described(cls)}.")
    hints = get_type_hints(cls)
    where = f"{prefix}." if prefix else ""
    unknown = [str(key) for key in mapping if key not in hints]
    if unknown:
        known = f"{prefix} accepts {', '.join(sorted(hints))}" if prefix else f"known are {', '.join(sorted(hints))}"
        raise InputError([f"{where}{key} is not a known key; {known}." for key in unknown])
    values = {key: _converted(value, hints[key], f"{where}{key}") for key, value in mapping.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise InputError(f"{prefix or 'The configuration'} is incomplete: {error}; give the missing key.") from error


def to_mapping(config: Any) -> Any:  # noqa: ANN401
    """Return dataclasses, however nested, as dicts and lists: what JSON and `weights_only` loading accept."""
    if is_dataclass(config):
        return {field.name: to_mapping(getattr(config, field.name)) for field in fields(config)}
    if isinstance(config, Mapping):
        return {key: to_mapping(value) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [to_mapping(item) for item in config]
    return config


def _converted(value: Any, hint: Any, key: str) -> Any:  # noqa: ANN401
    """Return `value` as the type `hint`, or raise an InputError that names `key`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if is_dataclass(hint) and isinstance(value, Mapping):
        return from_mapping(hint, value, key)  # type: ignore[arg-type]
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _converted(value, next(argument for argument in arguments if argument is not type(None)), key)
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if origin is Literal and value in arguments:
        return value
    if origin is Literal and type(value) is int and str(value) in arguments:
        return str(value)
    if origin is tuple and isinstance(value, list | tuple):
        expected = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(expected) == len(value):
            return tuple(_converted(item, kind, key) for item, kind in zip(value, expected, strict=True))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise InputError(f"{key} is {value!r}; it accepts {_described(hint)}.")


def _described(hint: Any) -> str:  # noqa: ANN401
    """Say in words what a type accepts."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f" of {len(arguments)} values"
        return f"a list{count}, each {_described(arguments[0])}"
    if is_dataclass(hint):
        return "a mapping with the keys " + ", ".join(field.name for field in fields(hint))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, str(hint))
