"""Candidates of one setting and step together: their metrics and facts, averaged over seeds, then over folds."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from nucleiseg.leaderboard.candidates import Candidate, Kind
from nucleiseg.leaderboard.metrics import CEILING, METRICS
from nucleiseg.leaderboard.record import EvaluationRecord

NO_METRICS = ("images", "truths", "results")
"""Numbers of the report that are counts of what was evaluated."""


@dataclass(frozen=True, eq=False)
class Entry:
    """The candidates of one setting, step and kind.

    Attributes:
        candidates: at least one, by image set, seed and run.
    """

    candidates: tuple[Candidate, ...]

    @property
    def setting(self) -> str:
        """What the setting is called."""
        return self.candidates[0].setting

    @property
    def setting_key(self) -> str:
        """Digest of the setting."""
        return self.candidates[0].setting_key

    @property
    def step(self) -> int:
        """Optimisation steps done."""
        return self.candidates[0].step

    @property
    def kind(self) -> Kind:
        """How the weights came about."""
        return self.candidates[0].kind

    @property
    def image_sets(self) -> tuple[str, ...]:
        """Digests of the image sets that the candidates cover, sorted."""
        return tuple(sorted({candidate.image_set for candidate in self.candidates}))

    @property
    def seeds(self) -> int:
        """Least number of distinct seeds in an image set."""
        return min(len({candidate.seed for candidate in self._in(image_set)}) for image_set in self.image_sets)

    def values(self) -> dict[str, float]:
        """Average every metric of the report over seeds, then over image sets; NaN where it is undefined.

        A metric with a ceiling has `KEY_share` too: the share of each image set's own ceiling, averaged, since
        ceilings differ between image sets. Runs that repeat a seed are averaged first.
        """
        return self._averaged(lambda candidate: metric_values(candidate.record))

    def facts(self) -> dict[str, float | str | None]:
        """Average what is a number among the facts of the candidates; join what differs of the others."""
        names = dict.fromkeys(name for candidate in self.candidates for name in candidate.facts)
        facts = {name: _joined([candidate.facts.get(name) for candidate in self.candidates]) for name in names}
        seconds = mean([candidate.record.seconds_per_image for candidate in self.candidates])
        return {**facts, "seconds_per_image": None if math.isnan(seconds) else seconds}

    def _in(self, image_set: str) -> list[Candidate]:
        return [candidate for candidate in self.candidates if candidate.image_set == image_set]

    def _averaged(self, numbers: Callable[[Candidate], Mapping[str, float]]) -> dict[str, float]:
        def of_set(image_set: str) -> dict[str, float]:
            of_seeds: dict[int, list[Mapping[str, float]]] = {}
            for candidate in self._in(image_set):
                of_seeds.setdefault(candidate.seed, []).append(numbers(candidate))
            return _means([_means(repeats) for repeats in of_seeds.values()])

        return _means([of_set(image_set) for image_set in self.image_sets])


def entries(candidates: Iterable[Candidate]) -> list[Entry]:
    """Group candidates by setting, step and kind.

    Returns:
        The entries in an order that does not depend on that of the candidates.
    """
    grouped: dict[tuple[Any, ...], list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda one: (one.image_set, one.seed, one.run, str(one.checkpoint))):
        grouped.setdefault((candidate.setting_key, candidate.step, candidate.kind), []).append(candidate)
    return [Entry(tuple(grouped[key])) for key in sorted(grouped)]


def metric_values(record: EvaluationRecord) -> dict[str, float]:
    """Return the flat metrics of a record's report, and the shares of their ceilings; NaN where undefined."""
    numbers = {
        key: math.nan if value is None else float(value)
        for key, value in record.report.items()
        if key not in NO_METRICS and (value is None or isinstance(value, int | float))
    }
    ceiling = numbers.get(CEILING, math.nan)
    limited = [metric for metric in METRICS.values() if metric.has_ceiling and metric.key in numbers]
    return {**numbers, **{metric.measure: numbers[metric.key] / ceiling for metric in limited}}


def mean(values: Iterable[float]) -> float:
    """Average the values that are defined; NaN if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return fmean(defined) if defined else math.nan


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: mean(row.get(key, math.nan) for row in rows) for key in keys}


def _joined(values: Sequence[float | str | None]) -> float | str | None:
    known = [value for value in values if value is not None]
    numbers = [float(value) for value in known if isinstance(value, int | float)]
    if numbers:
        return mean(numbers)
    return ", ".join(dict.fromkeys(map(str, known))) or None
