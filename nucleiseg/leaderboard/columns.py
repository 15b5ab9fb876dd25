"""Columns of a leaderboard that are not metrics: key, heading, unit, format, definition and direction of each.

Terminal, Markdown, LaTeX and HTML show headings and formatted numbers; the CSV file has keys and full precision.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "nearer zero"]
"""Which of two values is better."""

Value = float | str | None
"""Content of a cell; None if not known or undefined."""

MISSING = "–"
"""Shown for a value that is not known or undefined."""

INTERVAL = (
    "95 % interval of the ranking metric, from a bootstrap over the images, and over the seeds of a setting where "
    "there are several."
)
"""Definition of a row's interval."""


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        key: its name in the CSV file.
        heading: its name for readers, without the unit.
        definition: a sentence on what the values are.
        unit: unit of the formatted numbers; empty if they have none.
        number_format: Python's format specification of the numbers.
        better: which of two values is better; None if neither is.
        scale: what a value is divided by to be in `unit`.
    """

    key: str
    heading: str
    definition: str = ""
    unit: str = ""
    number_format: str = ".4f"
    better: Better | None = None
    scale: float = 1

    @property
    def title(self) -> str:
        """The heading with the unit: `peak memory (MB)`."""
        return f"{self.heading} ({self.unit})" if self.unit else self.heading

    def text(self, value: Value) -> str:
        """Format a value; every number of a column has the same format.

        >>> Column("parameters", "parameters", unit="M", number_format=".1f", scale=1e6).text(43_912_345)
        '43.9'
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return MISSING
        return value if isinstance(value, str) else format(value / self.scale, self.number_format)


IDENTITY = (
    Column("rank", "rank", "Place in the table.", number_format=".0f", better="lower"),
    Column("setting", "setting", "What differs between the runs."),
    Column("step", "step", "Optimizer steps done.", number_format=".0f"),
    Column("kind", "weights of", "step: a checkpoint as training saved it; average: the mean of several."),
    Column("tied", "tied", "yes: statistically indistinguishable from the best row on these images."),
    Column(
        "interval_low",
        "95 % from",
        f"Lower end of the {INTERVAL} For a metric with a ceiling: of its share of the ceiling.",
    ),
    Column("interval_high", "95 % to", "Upper end of that interval."),
    Column(
        "difference_low",
        "to the best, from",
        "Lower end of the 95 % interval of this row minus the best one, on the same resamples; for count_bias of their "
        "absolute values, since the one nearer zero is better.",
    ),
    Column("difference_high", "to the best, to", "Upper end of that interval."),
)
"""Columns before the metrics."""

FACTS: Mapping[str, Column] = {
    column.key: column
    for column in (
        Column("parameters", "parameters", "Parameters of the network, in millions.", "M", ".1f", scale=1e6),
        Column("seconds_per_step", "time per step", "Wall-clock time of a training step.", "s", ".3f", "lower"),
        Column("seconds_per_image", "time per image", "Wall-clock time of predicting an image.", "s", ".3f", "lower"),
        Column("peak_memory_mb", "peak memory", "Peak memory of the training (GPU or CPU).", "MB", ",.0f", "lower"),
        Column("device", "device", "What training ran on."),
        Column("weights", "weights", "What training started from."),
        Column("seeds", "seeds", "Seeds that the numbers are averaged over.", number_format=".0f"),
        Column("image_sets", "folds", "Sets of validation images averaged over.", number_format=".0f"),
    )
}
"""Columns after the metrics, by key."""
