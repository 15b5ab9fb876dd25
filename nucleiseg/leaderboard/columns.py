"""The columns of a leaderboard: what each is called, its unit, its format, its definition, and which value is better.

The CSV file and the HTML page show all of them, the terminal and the tables for papers those of `CHOICE`; headings,
numbers as text and definitions are the same everywhere. The CSV file has keys for headings and numbers as they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from nucleiseg.evaluation.definitions import DEFINITIONS
from nucleiseg.leaderboard.board import Row
from nucleiseg.leaderboard.metrics import CEILING, METRICS

Value = float | str | None
"""What a cell holds; None where it is not known or not defined."""

MISSING = "–"
"""Stands for a value that is undefined or not known."""

CHOICE = (
    "ap50",
    "ap50_100",
    "ap",
    "pq",
    "aji_plus",
    "count_mae",
    "parameters",
    "seconds_per_step",
    "seconds_per_image",
    "peak_memory_mb",
)
"""Metrics and facts that people read beside what ranks, on the terminal and in tables for papers."""

INTERVAL = (
    "95 % interval of what ranks, from a bootstrap over the images, and over the seeds of a setting where there are "
    "several."
)
"""What the interval of a row is."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: its name in a CSV file.
        heading: what a reader sees above it, without the unit.
        unit: unit of its numbers as text; empty where they have none.
        number_format: Python's format of its numbers.
        definition: a sentence on what the numbers are.
        higher_is_better: True or False; None where neither is better.
        scale: how many of the value one `unit` is.
    """

    key: str
    heading: str
    unit: str = ""
    number_format: str = ".4f"
    definition: str = ""
    higher_is_better: bool | None = None
    scale: float = 1

    @property
    def title(self) -> str:
        """The heading with the unit, as in `peak memory (MB)`."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def text(self, value: Value) -> str:
        """Return a cell as text: every number of the column in the same format; `MISSING` where there is no value."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return MISSING
        return value if isinstance(value, str) else format(value / self.scale, self.number_format)


HEADINGS: Mapping[str, str] = {
    "ap": "AP",
    "ap50": "AP50",
    "ap75": "AP75",
    "ap_100": "AP at 100",
    "ap50_100": "AP50 at 100",
    "ap75_100": "AP75 at 100",
    "ap50_100_ceiling": "ceiling of AP50 at 100",
    "aji": "AJI",
    "aji_plus": "AJI+",
    "dq": "DQ",
    "sq": "SQ",
    "pq": "PQ",
    "dice": "Dice",
    "f1": "F1",
    "count_mae": "count error",
    "count_bias": "count bias",
    "count_threshold": "score threshold",
}
"""Key of the report -> heading; those of boxes follow from them."""

IDENTITY = (
    Column("rank", "rank", number_format=".0f", definition="Place in the table.", higher_is_better=False),
    Column("setting", "setting", definition="What differs between the runs."),
    Column("step", "step", number_format=".0f", definition="Optimisation steps done."),
    Column("kind", "weights of", definition="step: a checkpoint as training saved it; average: the mean of several."),
    Column("tied", "tied", definition="yes: cannot be told from the best row on these images."),
    Column(
        "interval_low",
        "95 % from",
        definition=f"Lower end of the {INTERVAL} Of a metric with a ceiling: of its share of the ceiling.",
    ),
    Column("interval_high", "95 % to", definition="Upper end of that interval."),
    Column(
        "difference_low",
        "to the best, from",
        definition="Lower end of the 95 % interval of this row minus the best one, on the same resamples; for "
        "count_bias of their absolute values, since the one nearer zero is better.",
    ),
    Column("difference_high", "to the best, to", definition="Upper end of that interval."),
)
"""What stands before the metrics."""

FACTS = (
    Column("parameters", "parameters", "M", ".1f", "Numbers that the network consists of, in millions.", scale=1e6),
    Column(
        "seconds_per_step",
        "time per step",
        "s",
        ".3f",
        "Wall-clock time of a training step.",
        higher_is_better=False,
    ),
    Column(
        "seconds_per_image",
        "time per image",
        "s",
        ".3f",
        "Wall-clock time of predicting a validation image.",
        higher_is_better=False,
    ),
    Column(
        "peak_memory_mb",
        "peak memory",
        "MB",
        ",.0f",
        "Most memory that training held, of the GPU where there was one.",
        higher_is_better=False,
    ),
    Column("device", "device", definition="What training ran on."),
    Column("weights", "weights", definition="What training started from."),
    Column("seeds", "seeds", number_format=".0f", definition="Seeds that the numbers are averaged over."),
    Column("image_sets", "folds", number_format=".0f", definition="Sets of validation images averaged over."),
)
"""What stands behind the metrics."""

_FACTS = {column.key: column for column in FACTS}

_BETTER = {"higher": True, "lower": False, "nearer zero": None}


def cells(row: Row) -> list[tuple[Column, Value]]:
    """Return every cell of a row, in the order of the columns: identity, metrics as the report orders them, facts.

    All rows of a leaderboard have the same columns, if their records were made by one version.

    Args:
        row: a row of a table.
    """
    identity: dict[str, Value] = {
        "rank": row.rank,
        "setting": row.setting,
        "step": row.step,
        "kind": row.kind,
        "tied": "yes" if row.tied else "no",
        "interval_low": row.interval[0],
        "interval_high": row.interval[1],
        "difference_low": row.difference[0],
        "difference_high": row.difference[1],
    }
    seeds: dict[str, set[int]] = {}
    for candidate in row.candidates:
        seeds.setdefault(candidate.image_set, set()).add(candidate.seed)
    facts = {**row.facts, "seeds": min(map(len, seeds.values())), "image_sets": len(seeds)}
    return [
        *((column, _defined(identity[column.key])) for column in IDENTITY),
        *((metric_column(key), _defined(value)) for key, value in row.values.items()),
        *((column, _defined(facts.get(column.key))) for column in FACTS),
    ]


def column_of(key: str) -> Column:
    """Return the column of a metric or fact.

    Args:
        key: a key of `FACTS`, or of `metric_column`.
    """
    return _FACTS.get(key) or metric_column(key)


def with_ceiling(key: str, values: Mapping[str, Value]) -> str:
    """Return `0.2441 of at most 0.2574` for a metric with a ceiling, else the value alone, as text.

    Args:
        key: of a metric or fact.
        values: of the row, by key.
    """
    column, value = column_of(key), values.get(key)
    metric = METRICS.get(key)
    ceiling = values.get(CEILING) if metric and metric.has_ceiling else None
    text = column.text(value)
    return text if MISSING in (text, column.text(ceiling)) else f"{text} of at most {column.text(ceiling)}"


def metric_column(key: str) -> Column:
    """Return the column of a key of `Row.values`.

    Args:
        key: a flat key of the report, or `KEY_share`.
    """
    if key.endswith("_share"):
        of = metric_column(key.removesuffix("_share"))
        definition = f"{of.key} as a share of its ceiling on the same images; over folds, the mean of their shares."
        return Column(key, f"{of.heading}, share of ceiling", definition=definition, higher_is_better=True)
    plain = key.removeprefix("box_")
    heading = HEADINGS.get(plain, plain)
    metric = METRICS.get(plain)
    return Column(
        key=key,
        heading=heading if plain == key else f"box {heading}",
        number_format=".1f" if key in ("count_mae", "count_bias") else ".4f",
        definition=DEFINITIONS.get(key, ""),
        higher_is_better=_BETTER[metric.better] if metric else None,
    )


def _defined(value: Value) -> Value:
    return None if isinstance(value, float) and math.isnan(value) else value
