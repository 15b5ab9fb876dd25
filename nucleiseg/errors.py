"""Errors that users can fix: one sentence per problem, all problems of a check in one error."""

from collections.abc import Iterable, Sequence
from itertools import islice

MOST_PROBLEMS = 10
"""Printed problems of one file, since one mistake in a script may cause thousands."""

LONGEST_NAME = 200
"""Printed characters of a name or id."""


class InputError(Exception):
    """Bad input or configuration: the commands print it without a traceback and exit with code 2.

    Each problem is one sentence: what was found, where (file, image id or config key), what is accepted, and what to do
    next.

    Args:
        problems: one sentence, or several found by the same check.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: list[str] = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type["InputError"], tuple[list[str]]]:
        """Pickle the list of problems, so that an error of a worker process keeps it."""
        return type(self), (self.problems,)


def raise_problems(problems: Sequence[str]) -> None:
    """Raise an `InputError` with the first `MOST_PROBLEMS` distinct problems of a file, if there are any."""
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
    """Return a value of a file as text of at most `length` characters."""
    try:
        return _cut(repr(value), length)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        return f"a value of type {type(value).__name__}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."
