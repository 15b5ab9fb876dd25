"""Typed settings: frozen dataclasses on pydantic whose problems are sentences, those of all groups together.

    @settings
    class OptimSettings(Settings):
        lr: Annotated[float, Field(gt=0)] = 0.01

    OptimSettings(lr=-1)                          # InputError: OptimSettings.lr is -1; it accepts a number above 0.
    OptimSettings.from_dict({"lr": -1}, "optim")  # InputError: optim.lr is -1; it accepts a number above 0.

A class whose fields are such classes is a configuration: `from_dict` names the problems of all its groups in one error.
Types are strict: text is never taken for a number, nor true for 1; whole numbers are accepted where floats are, NaN and
infinity nowhere; lists become tuples.
"""

import os
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema, PydanticCustomError

from nucleiseg.errors import InputError

LONGEST_VALUE = 120
"""Characters of a value that an error message shows."""

CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

Class = TypeVar("Class")


@dataclass(frozen=True)
class Accepts:
    """State in words what a field accepts, where its type and bounds don't read well."""

    text: str


AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Marks a tuple that may be given as a list, as YAML has it."""

AsText = BeforeValidator(lambda value: str(value) if type(value) is int else value)
"""Marks text that YAML may have read as a number (`precision=32`)."""

PathText = Annotated[
    str,
    BeforeValidator(lambda value: path_text(value)),
    Field(min_length=1),
    Accepts("a path, in quotes where YAML reads it as something else ('2024.10')"),
]
"""A path as text: of a whole number (a folder called 2024) or a path object too, `~` expanded to the user's home."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share, probability, score or IoU."""

Seed = Annotated[int, Field(ge=0, lt=2**63), Accepts("a whole number from 0 to 2**63 - 1")]
"""A seed that torch and NumPy both take."""

Bits = Annotated[int, Field(ge=8, le=16, multiple_of=2), Accepts("8, 10, 12, 14 or 16")]
"""Bits a pixel that microscope cameras deliver, stored in 16."""

Mpp = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Micrometers per pixel; microscopes have 0.05 to 10."""


@pydantic_dataclass(frozen=True, config=CONFIG)
class Settings:
    """Base of the classes that `settings` makes: building from mappings and back, and checks across fields."""

    def contradictions(self, at: str) -> Iterable[str]:
        """Return a sentence for each contradiction between fields; called when all values are valid.

        Args:
            at: what comes before a field's name for the user: `optim.`, or nothing at the top of a configuration.
        """
        return ()

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        if any(True for _ in self.contradictions("")):
            raise PydanticCustomError("contradiction", "contradiction", {"settings": self})
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Accept a mapping for a nested group, which pydantic's strict mode would refuse."""
        schema = handler(source)
        inner: Any = schema
        while inner["type"] != "dataclass":
            inner = inner["schema"]
        inner["strict"] = False
        return schema

    @classmethod
    def from_dict(cls, mapping: object, key: str | None = None, *, complete: bool = False) -> Self:
        """Build from plain Python (dicts, lists, numbers, text), as YAML or a checkpoint has it.

        Args:
            mapping: the fields by name.
            key: where the user finds them in the configuration, for error messages (`optim`); empty at the top of it.
                None takes the name of the class.
            complete: refuse a missing field even where it has a default.

        Raises:
            InputError: a sentence for each unknown or missing key, each value that isn't accepted, nested ones
                included, and each contradiction between valid values.
        """
        key = cls.__name__ if key is None else key
        problems = list(_missing(cls, mapping, key)) if complete else []
        try:
            built = cls.__pydantic_validator__.validate_python(mapping, context={"complete": complete})  # type: ignore[attr-defined]
        except ValidationError as error:
            problems += _sentences(error, cls, mapping, key)
        if problems:
            raise InputError(list(dict.fromkeys(problems)))
        return built

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python that `from_dict` takes back, and that `weights_only` loading and JSON accept."""
        return {item.name: to_plain(getattr(self, item.name)) for item in fields(self)}


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, Field))
def settings(cls: type[Class]) -> type[Class]:
    """Make a frozen, strict dataclass of a subclass of `Settings`, built with keyword arguments.

    Its constructor raises an `InputError` that names the fields as `CLASS.FIELD`.

    Examples:
        >>> @settings
        ... class Optim(Settings):
        ...     lr: Annotated[float, Field(gt=0)] = 0.01
        >>> Optim().lr
        0.01
        >>> try:
        ...     Optim.from_dict({"lr": -1, "momentun": 0.9}, "optim")
        ... except InputError as error:
        ...     print(error)
        optim.lr is -1; it accepts a number above 0.
        optim.momentun is not a key of optim; its keys are lr.
    """
    return _with_input_errors(pydantic_dataclass(frozen=True, kw_only=True, config=CONFIG)(cls))


def _with_input_errors(cls: Any) -> Any:  # noqa: ANN401
    validate = cls.__init__

    def construct(self: Any, **values: Any) -> None:  # noqa: ANN401
        try:
            validate(self, **values)
        except ValidationError as error:
            raise InputError(_sentences(error, cls, values, cls.__name__)) from None

    cls.__init__ = construct
    return cls


def path_text(value: object) -> object:
    """Return a path as text, `~` expanded; leave what isn't a path (2024.10, which YAML has turned into 2024.1).

    Args:
        value: as YAML or a caller gives it: text, a path object, or a whole number (a folder called 2024).
    """
    if type(value) is int:
        return str(value)
    return expanded_home(os.fspath(value)) if isinstance(value, str | os.PathLike) else value


def expanded_home(path: str) -> str:
    """Return a path with a leading `~` as the user's home; `~nobody` stays a name."""
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111 - pathlib raises for ~nobody


class Problems:
    """Collect the problems of several checks, to raise them as one error."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def taking(self, build: Callable[[], Class]) -> Class | None:
        """Return what `build` makes; None where it raises an `InputError`, whose problems are kept."""
        try:
            return build()
        except InputError as error:
            self.found += error.problems
            return None

    def raise_found(self) -> None:
        """Raise one `InputError` with every problem, if there is any."""
        if self.found:
            raise InputError(self.found)


def to_plain(value: Any) -> Any:  # noqa: ANN401
    """Return dataclasses, mappings and tuples, however nested, as dicts and lists."""
    if is_dataclass(value):
        return {item.name: to_plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return the sentence for a key that doesn't exist: `model.typo is not a key of model; did you mean ...?`.

    Args:
        key: the whole key, with dots.
        known: the keys that exist, whole too.
    """
    group = key.rpartition(".")[0]
    return f"{key} is not a key{f' of {group}' if group else ''}; {suggestion(key, known)}"


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return which key was probably meant, to end a sentence about a key that doesn't exist.

    Args:
        key: the whole key as it was given (`optim.learning_rate`).
        known: the keys that exist, whole too; those of other groups may be among them.

    Returns:
        `did you mean optim.lr?`: the closest key of the same group, else one of the same name in another group.
        Where none comes close: `its keys are name, lr, ...`.

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


def known_keys(cls: Any, key: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yield every key of a class of settings, with dots, those of its groups included."""
    for name, hint in _hints(cls).items():
        yield (whole := f"{key}.{name}" if key else name)
        if group := _group(hint):
            yield from known_keys(group, whole)


def describe(hint: Any) -> str:  # noqa: ANN401
    """Return what a type accepts in words, to follow "it accepts".

    Examples:
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
    if _is_settings(hint):
        return f"the keys {', '.join(_hints(hint))}"
    if origin is dict:
        return "a group of keys" + (f", each {describe(arguments[1])}" if arguments[1] is not Any else "")
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}
    return names.get(hint, "a group of keys" if hint is dict else str(hint))


def shown(value: object) -> str:
    """Return a value as one writes it in YAML, shortened where it is long; text stays in quotes."""
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
def _hints(cls: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the types of a dataclass's fields by name."""
    hints = get_type_hints(cls, include_extras=True)
    return {item.name: hints[item.name] for item in fields(cls)}


def _is_settings(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _alternatives(hint: Any) -> list[Any]:  # noqa: ANN401
    """Return the types that a hint allows beside None, without their annotations."""
    if get_origin(hint) is Annotated:
        return _alternatives(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for argument in get_args(hint) if argument is not type(None) for kind in _alternatives(argument)]
    return [hint]


def _group(hint: Any) -> Any:  # noqa: ANN401
    """Return the one class of settings among the types that a hint allows; None if there is none, or several."""
    groups = [kind for kind in _alternatives(hint) if _is_settings(kind)]
    return groups[0] if len(groups) == 1 else None


def _missing(cls: Any, mapping: object, key: str) -> Iterator[str]:  # noqa: ANN401
    """Yield a sentence for each field with a default that a mapping lacks; pydantic names those without."""
    if not isinstance(mapping, Mapping):
        return
    hints = _hints(cls)
    for item in fields(cls):
        hint, whole = hints[item.name], f"{key}.{item.name}" if key else item.name
        if item.name in mapping:
            if group := _group(hint):
                yield from _missing(group, mapping[item.name], whole)
        elif item.default is not MISSING or item.default_factory is not MISSING:
            yield f"{whole} is missing; it accepts {describe(hint)}."


def _sentences(error: ValidationError, cls: Any, mapping: object, key: str) -> list[str]:  # noqa: ANN401
    """Return pydantic's errors as sentences, one a field."""
    sentences = [
        sentence
        for problem in error.errors(include_url=False)
        for sentence in _problem_sentences(problem, cls, mapping, key)
    ]
    return list(dict.fromkeys(sentences))


def _problem_sentences(problem: Any, cls: Any, value: Any, key: str) -> Iterable[str]:  # noqa: ANN401
    """Return the sentences of one error, whose location is followed through nested groups down to a field."""
    top, root, hint = cls, key, cls
    for name in problem["loc"]:
        *others, kind = _alternatives(hint)
        if others:  # a union: pydantic names the alternative that it tried
            group = _group(hint)
            if group is None or not isinstance(value, Mapping):
                break
            if group.__name__ not in name:
                return []  # the value is a group, so what the other alternatives lack doesn't matter
            hint = group
        elif _is_settings(kind):
            known = _hints(kind)
            key = f"{key}.{name}" if key else str(name)
            if name not in known:
                return [unknown_key(key, known_keys(top, root))]
            hint = known[name]
            if problem["type"] == "missing" and name == problem["loc"][-1]:
                return [f"{key} is missing; it accepts {describe(hint)}."]
            value = value[name] if isinstance(value, Mapping) else getattr(value, name)
        elif get_origin(kind) is dict and problem["loc"][-1] != "[key]":
            key, hint, value = f"{key}.{name}", get_args(kind)[1], value[name]
            top, root = (hint, key) if _group(hint) else (top, root)
        elif get_origin(kind) is tuple and (group := _group(get_args(kind)[0])):
            key, hint, value = f"{key}[{name}]", group, value[name]
            top, root = group, key
        else:
            break  # an element of a list: the sentence is about the list
    context = problem.get("ctx", {})
    if problem["type"] == "contradiction":
        return context["settings"].contradictions(f"{key}." if key else "")
    return [f"{key or 'The configuration'} is {shown(value)}; it accepts {describe(hint)}."]
