"""Describe refused settings in sentences: what a type accepts, the value as in YAML, the closest key."""

import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

LONGEST_VALUE = 120
"""Characters of a value that an error message shows."""


@dataclass(frozen=True)
class Accepts:
    """State in words what a field accepts, if the description of its type is unclear."""

    text: str


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown key: `model.typo is not a key of model; did you mean ...?`.

    Args:
        key: the full key, with dots.
        known: the full existing keys.
    """
    group = key.rpartition(".")[0]
    return f"{key} is not a key{f' of {group}' if group else ''}; {suggestion(key, known)}"


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return the end of a sentence on an unknown key: the closest key, or all keys.

    Args:
        key: the full key as it was given (`optim.learning_rate`).
        known: the full existing keys, also of other groups.

    Returns:
        `did you mean optim.lr?`: the closest key of the same group, else one of the same name in another group;
        `its keys are name, lr, ...` if no key is close.

    Examples:
        >>> suggestion("optim.learning", ["optim.learning_rate", "optim.momentum"])
        'did you mean optim.learning_rate?'
    """
    group, _, name = key.rpartition(".")
    others = sorted(set(known))
    siblings = [other for other in others if other.rpartition(".")[0] == group]
    names = {other.rpartition(".")[2]: other for other in siblings}
    close = get_close_matches(name.lower(), names, n=1)
    elsewhere = [other for other in others if other.rpartition(".")[2] == name]
    if close or elsewhere:
        return f"did you mean {names[close[0]] if close else ' or '.join(elsewhere)}?"
    if not siblings:
        return f"did you mean {closest[0]}?" if (closest := get_close_matches(key, others, n=1)) else "leave it out."
    return f"{'its' if group else 'the'} keys are {', '.join(names)}."


def describe(hint: Any) -> str:  # noqa: ANN401
    """Return what a type accepts in words, to follow "it accepts".

    Examples:
        >>> from pydantic import Field
        >>> describe(Annotated[int, Field(ge=8, le=16)] | None), describe(Literal["sgd", "adamw"])
        ('a whole number from 8 to 16, or null', 'one of sgd, adamw')
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _describe_annotated(arguments[0], arguments[1:])
    if origin in (Union, types.UnionType):
        words = [describe(argument) for argument in arguments if argument is not type(None)]
        return " or ".join(words) + (", or null" if type(None) in arguments else "")
    if origin is Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(str, arguments))
    if origin is tuple:
        return _describe_tuple(arguments, {})
    if isinstance(hint, type) and is_dataclass(hint):
        return f"the keys {', '.join(field_types(hint))}"
    if origin is dict:
        return "a group of keys" + (f", each {describe(arguments[1])}" if arguments[1] is not Any else "")
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, "a group of keys" if hint is dict else str(hint))


def shown(value: object) -> str:
    """Return a value as in YAML, with quoted text, cut to `LONGEST_VALUE` characters."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list | tuple):
        text = f"[{', '.join(map(shown, value[:LONGEST_VALUE]))}]"
    elif isinstance(value, Mapping):
        text = f"{{{', '.join(f'{key}: {shown(item)}' for key, item in value.items())}}}"
    else:
        text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."


def _describe_annotated(hint: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401
    for item in metadata:
        if isinstance(item, Accepts):
            return item.text
    constraints = [part for item in metadata for part in getattr(item, "metadata", [item])]  # Field(...) holds several
    names = ("ge", "gt", "le", "lt", "min_length", "max_length")
    bounds = {name: getattr(part, name) for part in constraints for name in names if hasattr(part, name)}
    if get_origin(hint) is tuple:
        return _describe_tuple(get_args(hint), bounds)
    words = describe(hint)
    if "ge" in bounds:
        words += f" from {_number(bounds['ge'])}"
    elif "gt" in bounds:
        words += f" above {_number(bounds['gt'])}"
    if "le" in bounds:
        return f"{words}{' to' if 'ge' in bounds else ', up to'} {_number(bounds['le'])}"
    if "lt" in bounds:
        return f"{words}{' to' if 'ge' in bounds else ' and'} below {_number(bounds['lt'])}"
    return words


def _describe_tuple(items: Sequence[Any], bounds: Mapping[str, int]) -> str:
    if items[-1] is not Ellipsis:
        return f"a list of {len(items)} values, each {describe(items[0])}"
    least, most = bounds.get("min_length", 0), bounds.get("max_length")
    count = f" of {least} to {most} values" if most is not None else f" of at least {least} values" * (least > 0)
    return f"a list{count}, each {describe(items[0])}"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


@cache
def field_types(cls: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the types of a dataclass's fields by name."""
    hints = get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in fields(cls)}


def alternatives(hint: Any) -> list[Any]:  # noqa: ANN401
    """Return the types that a hint allows beside None, without their annotations."""
    if get_origin(hint) is Annotated:
        return alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for argument in get_args(hint) if argument is not type(None) for kind in alternatives(argument)]
    return [hint]
