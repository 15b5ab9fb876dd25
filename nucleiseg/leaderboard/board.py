"""The ranked leaderboard: settings and steps, their metrics, and which of them chance alone could have swapped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.leaderboard.bootstrap import Interval, Resamples, interval, resampled_rows
from nucleiseg.leaderboard.candidates import Candidate, Kind
from nucleiseg.leaderboard.entries import Entry, entries
from nucleiseg.leaderboard.metrics import Metric, find_metric
from nucleiseg.leaderboard.sentences import notes, verdict

TIE_BREAKERS = ("ap", "pq", "ap50")
"""Metrics that decide between rows with exactly the same value of what is ranked by; then fewer steps win."""


@dataclass(frozen=True, eq=False)
class Row:
    """A setting at a step: all its seeds and folds.

    Attributes:
        rank: place within its table, from 1.
        setting: what the setting is called.
        step: optimisation steps done.
        kind: a checkpoint as training saved it, or an average of several.
        candidates: the checkpoints behind the row: one a seed and set of images.
        values: every metric by its key in `Report.to_dict`, averaged over seeds, then over the image sets where it is
            defined; NaN where it is in none. A metric with a ceiling has `KEY_share` too: the mean of its shares of
            each image set's ceiling.
        interval: 95 % interval of what the table is ranked by (`Table.measure`); NaN where nothing can be told.
        difference: 95 % interval of this row minus the best one, on the same resampled images; of a bias, of its
            absolute value.
        tied: whether the row cannot be told from the best one: `difference` does not lie on the worse side as a whole,
            or is unknown; the best row itself is.
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
        """Whether there is an interval of the difference to the best row; if not, nothing can be told of a tie."""
        return not any(map(math.isnan, self.difference))

    @property
    def name(self) -> str:
        """What a reader calls the row: setting and step."""
        if self.kind == "average":
            return f"{self.setting}, averaged weights (step {self.step})"
        return f"{self.setting}, step {self.step}"


@dataclass(frozen=True, eq=False)
class Table:
    """Rows that were scored on the same images, so that they may be ranked side by side.

    Attributes:
        image_sets: digests of the sets of images that every row covers.
        images: names of the images.
        rank_by: the metric that the user ranks by.
        measure: key of `Row.values` that ranks: `rank_by`, or its share of the ceiling where it has one.
        rows: the rows, best first.
        sentence: what can be told from this table and what cannot.
    """

    image_sets: tuple[str, ...]
    images: tuple[str, ...]
    rank_by: str
    measure: str
    rows: tuple[Row, ...]
    sentence: str


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All tables, that with the most images first; of as many, by the digests of their image sets.

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
        seed: seeds the resamples: the same call gives the same leaderboard.

    Raises:
        InputError: if there is no candidate, or no such metric; the sentence names the accepted ones.
    """
    metric = find_metric(rank_by)
    if not candidates:
        raise InputError("There is nothing to rank: no checkpoint was evaluated.")
    found = entries(candidates)
    covers: dict[tuple[str, ...], list[Entry]] = {}
    for entry in found:
        covers.setdefault(entry.image_sets, []).append(entry)
    tables = [_table(rows, metric, resamples, seed) for rows in covers.values()]
    tables.sort(key=lambda table: (-len(table.images), table.image_sets))  # values of other images tell nothing
    return Leaderboard(tuple(tables), notes(found, metric))


def _table(found: Sequence[Entry], metric: Metric, resamples: int, seed: int) -> Table:
    """Rank entries of the same image sets."""
    ordered = _ordered([(entry, entry.values()) for entry in found], metric)
    image_sets = ordered[0][0].image_sets
    names = [_names(ordered[0][0], image_set) for image_set in image_sets]
    drawn = resampled_rows([entry.candidates for entry, _ in ordered], metric, resamples, seed)
    rows = _rows(ordered, drawn, metric)
    return Table(
        image_sets=image_sets,
        images=tuple(name for images in names for name in images),
        rank_by=metric.key,
        measure=metric.measure,
        rows=tuple(rows),
        sentence=verdict(
            metric.key,
            tied=[row.rank for row in rows if row.tied],
            unknown=[row.rank for row in rows if not row.is_compared],
            rows=len(rows),
            images=[len(images) for images in names],
            defined=drawn.images,
            seeds=min(entry.seeds for entry in found),
        ),
    )


def _rows(ordered: Sequence[tuple[Entry, dict[str, float]]], drawn: Resamples, metric: Metric) -> list[Row]:
    """Return the rows of ordered entries, with intervals from their resamples."""
    measured = np.array([values[metric.measure] for _, values in ordered])
    differences = metric.comparable(measured) - metric.comparable(measured[:1])
    drawn_differences = metric.comparable(drawn.values) - metric.comparable(drawn.values[:1])
    rows = []
    for place, (entry, values) in enumerate(ordered):
        difference = interval(drawn_differences[place], float(differences[place]), drawn.images)
        row = Row(
            rank=place + 1,
            setting=entry.setting,
            step=entry.step,
            kind=entry.kind,
            candidates=entry.candidates,
            values=values,
            interval=metric.possible(interval(drawn.values[place], float(measured[place]), drawn.images)),
            difference=difference,
            tied=not metric.is_worse(difference),
            facts=entry.facts(),
        )
        rows.append(row)
    return rows


def _ordered(found: Sequence[tuple[Entry, dict[str, float]]], metric: Metric) -> list[tuple[Entry, dict[str, float]]]:
    """Return entries with their values, the best first; what decides does not depend on the order of `found`."""

    def key(pair: tuple[Entry, dict[str, float]]) -> tuple[Any, ...]:
        entry, values = pair
        others = [-find_metric(name).goodness(values[name]) for name in TIE_BREAKERS]
        return -metric.goodness(values[metric.measure]), *others, entry.step, entry.kind, entry.setting_key

    return sorted(found, key=key)


def _names(entry: Entry, image_set: str) -> list[str]:
    """Return the names of the images of one image set."""
    record = next(candidate.record for candidate in entry.candidates if candidate.image_set == image_set)
    return [image.name for image in record.images]
