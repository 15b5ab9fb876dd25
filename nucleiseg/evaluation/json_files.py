"""JSON that somebody else wrote: read with sentences instead of tracebacks."""

import json
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nucleiseg.errors import InputError

MOST_PROBLEMS = 10
"""Problems of one file that are printed: one mistake in a script makes thousands of the same."""


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read a JSON file.

    Raises:
        InputError: if it is missing or no JSON.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> Any:  # noqa: ANN401
    """Parse JSON in UTF-8 (with or without a byte order mark), UTF-16 or UTF-32.

    Args:
        data: the file's content.
        where: what the error calls it.

    Raises:
        InputError: if it is no JSON.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON file ({error}): it may be cut off, or of another kind.") from error


def raise_problems(problems: Sequence[str]) -> None:
    """Raise all problems of a file as one error, the first ones in full; do nothing if there are none.

    Raises:
        InputError: with at most `MOST_PROBLEMS` sentences and the number of the others.
    """
    if not problems:
        return
    more = len(problems) - MOST_PROBLEMS
    raise InputError([*problems[:MOST_PROBLEMS], *([f"{more} more problems of this file are not shown."] * (more > 0))])


def some(values: Iterable[object], count: int = 5) -> str:
    """Return the first values as text: `1, 2, 3, 4, 5, ...`."""
    shown = list(islice(values, count + 1))
    return ", ".join([str(value) for value in shown[:count]] + ["..."] * (len(shown) > count))
