"""Typed settings: frozen pydantic dataclasses whose errors are sentences, for all groups at once.

    @settings
    class OptimSettings(Settings):
        lr: Annotated[float, Field(gt=0)] = 0.01

    OptimSettings(lr=-1)                          # InputError: OptimSettings.lr is -1; it accepts a number above 0.
    OptimSettings.from_dict({"lr": -1}, "optim")  # InputError: optim.lr is -1; it accepts a number above 0.

A class with such classes as fields is a configuration: `from_dict` reports the problems of all its groups in one error.
Types are strict: text is not converted to numbers, nor true to 1. Floats may be given as whole numbers, but not as NaN
or infinity; lists become tuples.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from typing import (
    Annotated,
    Any,
    Self,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, ValidationError, model_validator
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import CoreSchema, PydanticCustomError

from nucleiseg.errors import InputError
from nucleiseg.files import path_text
from nucleiseg.setting_sentences import Accepts, alternatives, describe, field_types, shown, unknown_key

CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)

Class = TypeVar("Class")


AsTuple = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Marks a tuple that may be given as a list, as YAML has it."""

AsText = BeforeValidator(lambda value: str(value) if type(value) is int else value)
"""Marks text that YAML may have read as a number (`precision=32`)."""

PathText = Annotated[
    str,
    BeforeValidator(path_text),
    Field(min_length=1),
    Accepts("a path, in quotes where YAML reads it as something else ('2024.10')"),
]
"""A path as text, also of a whole number (a folder 2024) or a path object, with `~` expanded."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A share, probability, score or IoU."""

Seed = Annotated[int, Field(ge=0, lt=2**63), Accepts("a whole number from 0 to 2**63 - 1")]
"""A seed that torch and NumPy both take."""

Bits = Annotated[int, Field(ge=8, le=16, multiple_of=2), Accepts("8, 10, 12, 14 or 16")]
"""Bits per pixel of microscope cameras, stored in 16 bits."""

Mpp = Annotated[float, Field(ge=1e-3, le=1e3)]
"""Micrometers per pixel; microscopes have 0.05 to 10."""


@pydantic_dataclass(frozen=True, config=CONFIG)
class Settings:
    """Base class of settings: conversion from and to mappings, and checks across fields."""

    def contradictions(self, at: str) -> Iterable[str]:
        """Return a sentence for each contradiction between fields; called when all values are valid.

        Args:
            at: prefix of the fields' keys: `optim.`, or empty at the top of a configuration.
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
        """Build from dicts, lists, numbers and text, as in YAML or a checkpoint.

        Args:
            mapping: the fields by name.
            key: of the group in the configuration, for error messages (`optim`); empty at the top of it; None: the name
                of the class.
            complete: also refuse missing fields that have a default.

        Raises:
            InputError: a sentence for each unknown or missing key, each refused value, also nested ones, and each
                contradiction between valid values.
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
        """Return builtin types, which `from_dict`, `weights_only` loading and JSON accept."""
        return {item.name: to_container(getattr(self, item.name)) for item in fields(self)}


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


class Problems:
    """Collect the problems of several checks, to raise them as one error."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def taking(self, build: Callable[[], Class]) -> Class | None:
        """Return the result of `build`; None, with its problems collected, if it raises an `InputError`."""
        try:
            return build()
        except InputError as error:
            self.found += error.problems
            return None

    def raise_found(self) -> None:
        """Raise one `InputError` with all problems, if there are any."""
        if self.found:
            raise InputError(self.found)


def to_container(value: Any) -> Any:  # noqa: ANN401
    """Convert nested dataclasses, mappings and tuples to dicts and lists."""
    if is_dataclass(value):
        return {item.name: to_container(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_container(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_container(item) for item in value]
    return value


def known_keys(cls: Any, key: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yield every key of a class of settings, groups and nested keys: `rpn`, `rpn.nms`, ..."""
    for name, hint in field_types(cls).items():
        yield (whole := f"{key}.{name}" if key else name)
        if group := _group(hint):
            yield from known_keys(group, whole)


def _is_settings(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, Settings)


def _group(hint: Any) -> Any:  # noqa: ANN401
    """Return the only class of settings among the types of a hint; None if there is none or several."""
    groups = [kind for kind in alternatives(hint) if _is_settings(kind)]
    return groups[0] if len(groups) == 1 else None


def _missing(cls: Any, mapping: object, key: str) -> Iterator[str]:  # noqa: ANN401
    """Yield a sentence for each missing field with a default; pydantic reports those without."""
    if not isinstance(mapping, Mapping):
        return
    hints = field_types(cls)
    for item in fields(cls):
        hint, whole = hints[item.name], f"{key}.{item.name}" if key else item.name
        if item.name in mapping:
            if group := _group(hint):
                yield from _missing(group, mapping[item.name], whole)
        elif item.default is not MISSING or item.default_factory is not MISSING:
            yield f"{whole} is missing; it accepts {describe(hint)}."


def _sentences(error: ValidationError, cls: Any, mapping: object, key: str) -> list[str]:  # noqa: ANN401
    """Convert pydantic's errors to sentences, one per field."""
    sentences = [
        sentence
        for problem in error.errors(include_url=False)
        for sentence in _problem_sentences(problem, cls, mapping, key)
    ]
    return list(dict.fromkeys(sentences))


def _problem_sentences(problem: Any, cls: Any, value: Any, key: str) -> Iterable[str]:  # noqa: ANN401
    """Return the sentences of one error, following its location through nested groups to a field."""
    top, root, hint = cls, key, cls
    for name in problem["loc"]:
        *others, kind = alternatives(hint)
        if others:  # a union: the location has the alternative's name
            group = _group(hint)
            if group is None or not isinstance(value, Mapping):
                break
            if group.__name__ not in name:
                return []  # the value is a group: errors of the other alternatives are irrelevant
            hint = group
        elif _is_settings(kind):
            known = field_types(kind)
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
