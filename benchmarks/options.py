"""Command line of the benchmarks: parse `key=value` arguments into a dataclass, print a table and JSON."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from benchmarks.result import Result, publish
from nucleiseg.errors import InputError
from nucleiseg.settings import AsTuple, describe, shown, unknown_key

Options = TypeVar("Options")


def parse(options: type[Options], arguments: Sequence[str]) -> Options:
    """Build a dataclass of options from `key=value` arguments.

    Args:
        options: dataclass with a default for each field; a tuple takes values separated by commas.
        arguments: arguments of the command line.

    Raises:
        InputError: for an argument without `=`, an unknown key, or a value of the wrong type.
    """
    hints = get_type_hints(options)
    given: dict[str, Any] = {}
    for argument in arguments:
        key, separator, value = argument.partition("=")
        if not separator:
            known = ", ".join(field.name for field in fields(options))  # type: ignore[arg-type]
            raise InputError(f"{argument} has no value: give KEY=VALUE; the keys are {known}.")
        given[key] = _read(value, hints.get(key))
    problems = [unknown_key(key, hints) for key in given if key not in hints]
    for key in given.keys() & hints.keys():
        try:
            accepted: Any = Annotated[hints[key], AsTuple]
            given[key] = TypeAdapter(accepted).validate_python(given[key], strict=True)
        except ValidationError:
            problems.append(f"{key} is {shown(given[key])}; it accepts {describe(hints[key])}.")
    if problems:
        raise InputError(problems)
    return options(**given)


def _read(text: str, hint: Any) -> Any:  # noqa: ANN401
    """Parse a value for the type of its field; `parse` checks the result."""
    if get_origin(hint) is tuple:
        return [_read(part, None) for part in text.split(",")]
    if hint is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def run(options: type[Options], benchmark: Callable[[Options], Result]) -> None:
    """Run a benchmark with the arguments of the command line, and publish its result.

    The table is printed; the JSON is printed too, or written to the file of `json=FILE`. An `InputError` is printed,
    and the exit code is 2.
    """
    files = [word.removeprefix("json=") for word in sys.argv[1:] if word.startswith("json=")]
    words = [word for word in sys.argv[1:] if not word.startswith("json=")]
    try:
        publish(benchmark(parse(options, words)), words, files[-1] if files else None)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
