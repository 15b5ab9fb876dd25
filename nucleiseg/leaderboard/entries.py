"""Group candidates by setting and step; average their metrics and facts over seeds, then over folds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from nucleiseg.leaderboard.candidates import Candidate, Kind
from nucleiseg.leaderboard.metrics import CEILING, METRICS
from nucleiseg.leaderboard.record import EvaluationRecord

NOT_METRICS = ("images", "truths", "results")
"""Counts in the report, which are not metrics."""


OF_CLASSES = ("ap", "ap50", "pq", "f1")
"""Numbers of each class that the leaderboard has beside those of all classes."""


@dataclass(frozen=True, eq=False)
class Entry:
    """The candidates of one setting, step and kind.

    Attributes:
        candidates: at least one, ordered by image set, seed and run.
    """

    candidates: tuple[Candidate, ...]

    @property
    def setting(self) -> str:
        """Name of the setting."""
        return self.candidates[0].setting

    @property
    def setting_key(self) -> str:
        """Digest of the setting."""
        return self.candidates[0].setting_key

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.candidates[0].step

    @property
    def kind(self) -> Kind:
        """How the weights were made."""
        return self.candidates[0].kind

    @property
    def image_sets(self) -> tuple[str, ...]:
        """Digests of the image sets that the candidates cover, sorted."""
        return tuple(sorted({candidate.image_set for candidate in self.candidates}))

    @property
    def seeds(self) -> int:
        """Smallest number of distinct seeds in an image set."""
        return smallest_seed_count(self.candidates)

    def values(self) -> dict[str, float]:
        """Average every metric over seeds, then over image sets; NaN where it is undefined.

        A metric with a ceiling has `KEY_share` too: the mean of its shares of each image set's own ceiling, since
        ceilings differ between image sets. Runs that repeat a seed are averaged first.
        """
        of_sets: dict[str, dict[int, list[Mapping[str, float]]]] = {}
        for candidate in self.candidates:
            of_seeds = of_sets.setdefault(candidate.image_set, {})
            of_seeds.setdefault(candidate.seed, []).append(metric_values(candidate.record))
        return _means([_means([_means(runs) for runs in of_seeds.values()]) for of_seeds in of_sets.values()])

    def facts(self) -> dict[str, float | str | None]:
        """Average the numbers among the candidates' facts and join the distinct texts."""
        names = dict.fromkeys(name for candidate in self.candidates for name in candidate.facts)
        facts: dict[str, float | str | None] = {}
        for name in names:
            known = [value for candidate in self.candidates if (value := candidate.facts.get(name)) is not None]
            numbers = [float(value) for value in known if isinstance(value, int | float)]
            facts[name] = mean(numbers) if numbers else ", ".join(dict.fromkeys(map(str, known))) or None
        seconds = mean([candidate.record.seconds_per_image for candidate in self.candidates])
        return {**facts, "seconds_per_image": None if math.isnan(seconds) else seconds}


def entries(candidates: Iterable[Candidate]) -> list[Entry]:
    """Group candidates by setting, step and kind; the order of the entries is independent of the candidates' order."""
    grouped: dict[tuple[Any, ...], list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda item: (item.image_set, item.seed, item.run, str(item.checkpoint))):
        grouped.setdefault((candidate.setting_key, candidate.step, candidate.kind), []).append(candidate)
    return [Entry(tuple(grouped[key])) for key in sorted(grouped)]


def smallest_seed_count(candidates: Iterable[Candidate]) -> int:
    """Return the smallest number of distinct seeds that candidates have in an image set."""
    seeds: dict[str, set[int]] = {}
    for candidate in candidates:
        seeds.setdefault(candidate.image_set, set()).add(candidate.seed)
    return min(map(len, seeds.values()))


def metric_values(record: EvaluationRecord) -> dict[str, float]:
    """Return every metric of a record by key, and the shares of their ceilings; NaN where undefined."""
    numbers = {
        key: math.nan if value is None else float(value)
        for key, value in record.report.items()
        if key not in NOT_METRICS and (value is None or isinstance(value, int | float))
    } | class_values(record.report)
    once = np.ones((1, len(record.images)))
    for spec in METRICS.values():
        if spec.key not in numbers:  # a metric that the leaderboard alone computes
            numbers[spec.key] = float(spec.resampled(record, once)[0])
    ceiling = numbers.get(CEILING, math.nan)
    return numbers | {spec.measure: numbers[spec.key] / ceiling for spec in METRICS.values() if spec.has_ceiling}


def class_values(report: Mapping[str, Any]) -> dict[str, float]:
    """Return `OF_CLASSES` of each class as `KEY/NAME`, and the means over classes as `mean/KEY`.

    Empty where there is no more than one class.
    """
    if "confusion" not in report:
        return {}
    of_classes = {f"{key}/{name}": group[key] for name, group in report["per_class"].items() for key in OF_CLASSES}
    agnostic = {f"agnostic/{key}": report["class_agnostic"].get(key) for key in ("ap", "ap50")}
    means = {f"mean/{key}": report["mean_over_classes"].get(key) for key in ("pq", "f1")}
    values = {**agnostic, **means, **of_classes}
    return {key: math.nan if value is None else float(value) for key, value in values.items()}


def mean(values: Iterable[float]) -> float:
    """Average the values that are defined; NaN if none is."""
    defined = [value for value in values if not math.isnan(value)]
    return fmean(defined) if defined else math.nan


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for row in rows for key in row)
    return {key: mean(row.get(key, math.nan) for row in rows) for key in keys}
