"""Errors a user can act on: one sentence a problem, all problems of one cause together."""

from collections.abc import Iterable, Sequence
from itertools import islice

MOST_PROBLEMS = 10
"""Problems of one file that are printed: one mistake in a script makes thousands of the same."""

LONGEST_NAME = 200
"""Characters of a name or id that are printed."""


class InputError(Exception):
    """Bad input or configuration: the commands print it without a traceback and exit with code 2.

    Each problem is one sentence: what was found, where (file, image id or config key), what is accepted, and
    what to do next.

    Args:
        problems: one sentence, or several found by the same check.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type["InputError"], tuple[list[str]]]:
        """Pickle by the list of problems, so that the error crosses from a worker process unharmed."""
        return type(self), (self.problems,)


def raise_problems(problems: Sequence[str]) -> None:
    """Raise all problems of a file as one error, the first ones in full and each once; do nothing if there are none.

    Raises:
        InputError: with at most `MOST_PROBLEMS` sentences and the number of the others.
    """
    problems = list(dict.fromkeys(problems))
    if not problems:
        return
    more = len(problems) - MOST_PROBLEMS
    raise InputError([*problems[:MOST_PROBLEMS], *([f"{more} more problems of this file are not shown."] * (more > 0))])


def some(values: Iterable[object], count: int = 5) -> str:
    """Return the first values as text: `1, 2, 3, 4, 5, ...`."""
    shown = list(islice(values, count + 1))
    return ", ".join([_cut(str(value), LONGEST_NAME) for value in shown[:count]] + ["..."] * (len(shown) > count))


def short(value: object, length: int = 60) -> str:
    """Return a value that a file holds as text for a sentence, cut to a length."""
    try:
        return _cut(repr(value), length)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        return f"a value of type {type(value).__name__}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
