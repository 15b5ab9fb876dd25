"""Rank candidates: settings and steps, their metrics, and which rows are statistically indistinguishable from the best.

Usage:
    board = rank(candidates, "ap50")
    board.best.name                     # "r50_c4, step 1600"
    board.tables[0].rows[1].tied        # True
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.leaderboard.bootstrap import Interval, Resamples, interval, resampled_rows
from nucleiseg.leaderboard.candidates import Candidate, Kind
from nucleiseg.leaderboard.caveats import describe_ties, entry_caveats
from nucleiseg.leaderboard.entries import Entry, entries
from nucleiseg.leaderboard.metrics import METRICS, MetricSpec, find_metric

TIE_BREAKERS = ("ap", "pq", "ap50")
"""Metrics that order rows with exactly the same value of what is ranked by; after them, fewer steps win."""


@dataclass(frozen=True, eq=False)
class Row:
    """A setting at a step: all its seeds and folds.

    Attributes:
        rank: place within its table, from 1.
        setting: name of the setting.
        step: optimizer steps done.
        kind: a checkpoint as training saved it, or an average of several.
        candidates: the checkpoints of the row: one for each seed and set of images.
        values: every metric by key, averaged over seeds, then over the image sets where it is defined; NaN if it is
            defined in none. A metric with a ceiling has `KEY_share` too: the mean of its shares of each image set's
            ceiling.
        interval: 95 % interval of what the table is ranked by (`Table.measure`); NaN if it can't be computed.
        difference: 95 % interval of this row minus the best one, on the same resampled images; for a bias, of its
            absolute value.
        tied: whether the row is statistically indistinguishable from the best one: `difference` is unknown or does not
            lie entirely on the worse side. True for the best row itself.
        facts: facts of the candidates, numbers averaged; and `seconds_per_image`.
    """

    rank: int
    setting: str
    step: int
    kind: Kind
    candidates: tuple[Candidate, ...]
    values: Mapping[str, float]
    interval: Interval
    difference: Interval
    tied: bool
    facts: Mapping[str, float | str | None]

    @property
    def is_compared(self) -> bool:
        """Whether the interval of the difference to the best row could be computed."""
        return not any(map(math.isnan, self.difference))

    @property
    def name(self) -> str:
        """Setting and step in words."""
        if self.kind == "average":
            return f"{self.setting}, averaged weights (step {self.step})"
        return f"{self.setting}, step {self.step}"


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that were scored on the same images, so that they can be ranked side by side.

    Attributes:
        image_sets: digests of the sets of images that every row covers.
        images: names of the images.
        rank_by: key of the metric that the user ranks by.
        measure: key of `Row.values` that ranks: `rank_by`, or its share of the ceiling if it has one.
        rows: the rows, best first.
        sentence: which rows are tied with the best, and what limits that statement.
    """

    image_sets: tuple[str, ...]
    images: tuple[str, ...]
    rank_by: str
    measure: str
    rows: tuple[Row, ...]
    sentence: str


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All tables, ordered by descending number of images, then by the digests of their image sets.

    Attributes:
        tables: one for each collection of image sets.
        notes: sentences on what a reader should know: rows that miss folds, runs with other images.
    """

    tables: tuple[Table, ...]
    notes: tuple[str, ...]

    @property
    def best(self) -> Row:
        """The best row of the first table."""
        return self.tables[0].rows[0]


def rank(
    candidates: Sequence[Candidate], rank_by: str = "ap50", *, resamples: int = 2000, seed: int = 0
) -> Leaderboard:
    """Rank candidates: one row for each setting, step and kind, one table for each collection of image sets.

    Within a table a metric is averaged over the seeds of an image set, then over the image sets (folds). A metric
    with a ceiling ranks by its share of each image set's ceiling; with one image set that is the order of its values.

    Args:
        candidates: what was evaluated, in any order.
        rank_by: the metric that ranks, a key of `metrics.METRICS`.
        resamples: number of resamples of the bootstrap.
        seed: of the resamples: the same call gives the same leaderboard.

    Raises:
        InputError: for an empty list, or an unknown metric; the sentence names the accepted ones.
    """
    metric = find_metric(rank_by)
    if not candidates:
        raise InputError("No checkpoint was evaluated, so none can be ranked.")
    found = entries(candidates)
    by_images: dict[tuple[str, ...], list[Entry]] = {}
    for entry in found:
        by_images.setdefault(entry.image_sets, []).append(entry)
    tables = [_rank_table(rows, metric, resamples, seed) for rows in by_images.values()]
    tables.sort(key=lambda table: (-len(table.images), table.image_sets))  # values on different images don't compare
    return Leaderboard(tuple(tables), tuple(entry_caveats(found, metric)))


def _rank_table(found: Sequence[Entry], metric: MetricSpec, resamples: int, seed: int) -> Table:
    """Rank entries of the same image sets."""

    def key(pair: tuple[Entry, dict[str, float]]) -> tuple[Any, ...]:
        entry, values = pair
        others = [-METRICS[name].goodness(values[name]) for name in TIE_BREAKERS]
        # then fewer steps; the rest makes the order independent of the candidates' order
        return -metric.goodness(values[metric.measure]), *others, entry.step, entry.kind, entry.setting_key

    ordered = sorted(((entry, entry.values()) for entry in found), key=key)
    best = ordered[0][0]
    images = [  # names of the images of each set
        [image.name for image in next(it.record for it in best.candidates if it.image_set == image_set).images]
        for image_set in best.image_sets
    ]
    resampled = resampled_rows([entry.candidates for entry, _ in ordered], metric, resamples, seed)
    rows = _rows(ordered, resampled, metric)
    return Table(
        image_sets=best.image_sets,
        images=tuple(name for names in images for name in names),
        rank_by=metric.key,
        measure=metric.measure,
        rows=tuple(rows),
        sentence=describe_ties(
            metric.key,
            tied=[row.rank for row in rows if row.tied],
            unknown=[row.rank for row in rows if not row.is_compared],
            rows=len(rows),
            images=list(map(len, images)),
            defined=resampled.images,
            seeds=min(entry.seeds for entry in found),
        ),
    )


def _rows(ordered: Sequence[tuple[Entry, dict[str, float]]], resampled: Resamples, metric: MetricSpec) -> list[Row]:
    """Return the rows of ordered entries, with intervals from their resamples."""
    measured = np.array([values[metric.measure] for _, values in ordered])
    differences = metric.comparable(measured) - metric.comparable(measured[:1])
    resampled_differences = metric.comparable(resampled.values) - metric.comparable(resampled.values[:1])
    rows = []
    for place, (entry, values) in enumerate(ordered):
        difference = interval(resampled_differences[place], float(differences[place]), resampled.images)
        row = Row(
            rank=place + 1,
            setting=entry.setting,
            step=entry.step,
            kind=entry.kind,
            candidates=entry.candidates,
            values=values,
            interval=metric.clipped(interval(resampled.values[place], float(measured[place]), resampled.images)),
            difference=difference,
            tied=not metric.is_worse(difference),
            facts=entry.facts(),
        )
        rows.append(row)
    return rows
