"""Errors a user can act on: one sentence a problem, all problems of one cause together."""

from collections.abc import Sequence


class InputError(Exception):
    """Bad input or configuration: the doors print it without a traceback and exit with code 2.

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
