"""Compare the configurations of several runs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from nucleiseg.run_folder import flatten
from nucleiseg.runs import Run

ABSENT = "not set"
"""Shown for a key that a run lacks."""

SWEEP = "sweep."
"""Prefix of the keys of a sweep, which are not settings of a run."""


class Difference(NamedTuple):
    """A key of the configuration that differs between runs.

    Attributes:
        key: with dots, `model.rpn.nms`.
        values: of each run, in their order, in YAML's short form: `true`, `null`, `[0.5, 2]`.
    """

    key: str
    values: tuple[str, ...]


def differences(runs: Sequence[Run]) -> list[Difference]:
    """Return the keys whose values differ between the runs, in the order of the configuration."""
    flat = [flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for config in flat for key in config if not key.startswith(SWEEP))
    table = [Difference(key, tuple(_text(config[key]) if key in config else ABSENT for config in flat)) for key in keys]
    return [difference for difference in table if len(set(difference.values)) > 1]


def _text(value: Any) -> str:  # noqa: ANN401
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)
