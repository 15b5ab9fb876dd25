"""Instantiate classes that a configuration names by `_target_`, with restrictions for files of unknown origin.

    blur = {"_target_": "albumentations.GaussianBlur", "p": 0.2}
    check_targets(blur, BasicTransform, from_file=True, key="aug.extra[0]")    # InputError if it may not be made
    transform = instantiate(blur, BasicTransform, from_file=True, key="aug.extra[0]")

As Hydra's `instantiate`, but only for classes: a target is `package.module.Class`, its other keys are the arguments. A
configuration that was typed may name a class of any package. One that was read from a run's file may name classes of
`TRUSTED_PACKAGES` and of packages that the user trusts, since importing a module executes code.
"""

import importlib
import inspect
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from nucleiseg.errors import InputError
from nucleiseg.settings import shown, unknown_key

TARGET = "_target_"

TRUSTED_PACKAGES = ("nucleiseg", "pytorch_lightning", "lightning", "torch", "torchvision", "albumentations", "timm")
"""Packages whose classes a file of a run may name."""

SPECIAL_KEYS = ("_partial_", "_args_", "_recursive_", "_convert_")
"""Keys of Hydra's `instantiate` that change what is called, and how."""

Expected = TypeVar("Expected")


def check_targets(
    mapping: object,
    expected: type | tuple[type, ...],
    *,
    trusted: Collection[str] = (),
    from_file: bool,
    key: str,
) -> None:
    """Refuse a `_target_`, nested ones included, that may not be instantiated; nothing is instantiated.

    All names are checked before the first module is imported.

    Args:
        mapping: `_target_` and keyword arguments.
        expected: the base class of what the place takes, or several.
        trusted: further packages or modules that a file may name (`my_package`).
        from_file: the mapping was read from a file, such as a run's configuration, not typed by the user.
        key: where the user finds the mapping, for messages (`callbacks.mine`).

    Raises:
        InputError: a sentence for each target that is refused.
    """
    targets = list(_targets(mapping, key))
    if not isinstance(mapping, Mapping) or TARGET not in mapping:
        raise InputError(f"{key} is {shown(mapping)}; it accepts {TARGET} (package.module.Class) and its arguments.")
    allowed = (*TRUSTED_PACKAGES, *trusted) if from_file else None
    problems = [problem for at, node in targets for problem in _name_problems(node, at, allowed)]
    if not problems:
        problems = [problem for at, node in targets for problem in _class_problems(node[TARGET], at, expected, allowed)]
    if problems:
        raise InputError(problems)


def instantiate(
    mapping: Mapping[str, Any],
    expected: type[Expected],
    *,
    trusted: Collection[str] = (),
    from_file: bool,
    key: str,
    given: Mapping[str, Any] | None = None,
) -> Expected:
    """Return the object that a mapping describes, nested ones made first.

    Args:
        mapping: `_target_` and keyword arguments, checked with `check_targets` first.
        expected: as there, as are the next three.
        trusted: as there.
        from_file: as there.
        key: as there.
        given: keyword arguments that every object gets besides those of its mapping (a scheduler's `optimizer`).

    Raises:
        InputError: if a target is refused, or its class does not accept the arguments.
    """
    check_targets(mapping, expected, trusted=trusted, from_file=from_file, key=key)
    made: Expected = _make(mapping, key, given or {})
    return made


def find_class(target: str) -> Any:  # noqa: ANN401
    """Return what a checked target names; the part before its last dot is a module, never an attribute.

    Raises:
        ImportError, AttributeError: if there is no such module, or nothing of that name in it.
    """
    # `lightning` and `pytorch_lightning` are one code under two names, whose classes are not each other's subclasses.
    name = target.replace("lightning.pytorch.", "pytorch_lightning.", 1) if target.startswith("lightning.") else target
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def unknown_arguments(target: str, names: Collection[str], key: str, given: Collection[str] = ()) -> list[str]:
    """Return a sentence for each argument that the class of a checked target does not have.

    Args:
        target: the class; one that takes any keyword has no unknown ones.
        names: keyword arguments.
        key: where the user finds them.
        given: arguments of the class that are not the user's to give (`params` of an optimizer).
    """
    try:
        parameters = inspect.signature(find_class(target)).parameters
    except ValueError:  # a class in C without a signature: its constructor checks
        return []
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return []
    known = [f"{key}.{name}" for name in parameters if name not in given]
    return [unknown_key(f"{key}.{name}", known) for name in names if name not in parameters]


def is_trusted(name: str, packages: Collection[str]) -> bool:
    """Return whether a dotted name lies in one of the packages or modules."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _targets(value: object, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every mapping with a `_target_`, however nested, with its key."""
    if isinstance(value, Mapping):
        if TARGET in value:
            yield key, value
        for name, item in value.items():
            yield from _targets(item, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _targets(item, f"{key}[{number}]")


def _name_problems(node: Mapping[str, Any], key: str, allowed: Collection[str] | None) -> Iterator[str]:
    """Yield what is wrong with a target, from its text alone."""
    target = node[TARGET]
    for special in SPECIAL_KEYS:
        if special in node:
            yield f"{key}.{special} is {shown(node[special])}; leave it out: {TARGET} names a class, called once."
    parts = target.split(".") if isinstance(target, str) else []
    # A leading underscore: private modules, such as `__main__`, may do something when they are imported.
    if len(parts) < 2 or not all(part.isidentifier() and not part.startswith("_") for part in parts):
        yield f"{key}.{TARGET} is {shown(target)}; it accepts a class by its public name, package.module.Class."
    elif allowed is not None and not is_trusted(target, allowed):
        yield (
            f"{key}.{TARGET} is {shown(target)}, read from a file; a file may name classes of "
            f"{', '.join(allowed)}. If you know where {parts[0]} comes from, allow it with trust=[{parts[0]}]."
        )


def _class_problems(
    target: str, key: str, expected: type | tuple[type, ...], allowed: Collection[str] | None
) -> Iterator[str]:
    """Yield what is wrong with the object that a target names."""
    kinds = expected if isinstance(expected, tuple) else (expected,)
    accepted = " or ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    try:
        found = find_class(target)
    except Exception as error:  # a module may raise any error on import
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        yield f"{key}.{TARGET} is {shown(target)}, which cannot be imported ({reason}): correct it, or install it."
        return
    if not (isinstance(found, type) and issubclass(found, kinds)):
        yield f"{key}.{TARGET} is {shown(target)}; it accepts a subclass of {accepted}."
    elif allowed is not None and not is_trusted(found.__module__, allowed):  # imported there from another package
        yield f"{key}.{TARGET} is {shown(target)}, which comes from {found.__module__}: allow that with trust=[...]."


def _make(value: Any, key: str, given: Mapping[str, Any]) -> Any:  # noqa: ANN401
    if isinstance(value, list | tuple):
        return [_make(item, f"{key}[{number}]", given) for number, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    arguments = {name: _make(item, f"{key}.{name}", given) for name, item in value.items() if name != TARGET}
    if TARGET not in value:
        return arguments
    if problems := unknown_arguments(value[TARGET], arguments, key, given):
        raise InputError(problems)
    try:
        return find_class(value[TARGET])(**{**given, **arguments})
    except InputError:
        raise
    except ModuleNotFoundError as error:  # of a tracker whose client is an optional package
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{key}: {value[TARGET]} needs a package that is not installed ({reason}).") from error
    except Exception as error:  # a constructor may raise any error for unknown arguments
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise InputError(f"{key}: {value[TARGET]} cannot be made with these arguments ({reason}).") from error
