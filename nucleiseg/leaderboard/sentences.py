"""What a leaderboard says in words: what can be told from it, and what is missing."""

from collections.abc import Sequence
from itertools import groupby

from nucleiseg.leaderboard.entries import Entry
from nucleiseg.leaderboard.metrics import Metric
from nucleiseg.progress import counted

FEW_IMAGES = 10
"""Below so many images an interval depends on which ones they are."""


FEW_SEEDS = 5
"""Below so many seeds intervals are told to be too narrow: drawing 4 seeds shows 3/4 of their variance."""


def verdict(
    rank_by: str,
    *,
    tied: Sequence[int],
    unknown: Sequence[int],
    rows: int,
    images: Sequence[int],
    defined: Sequence[int],
    seeds: int,
) -> str:
    """Say what a table tells.

    Args:
        rank_by: the metric.
        tied: ranks of the rows that cannot be told from the best, which is among them; ascending.
        unknown: ranks of the rows for which no interval of the difference to the best could be computed.
        rows: number of rows.
        images: number of images of each image set.
        defined: number of images of each image set where the metric is defined.
        seeds: least number of distinct seeds that a row has in an image set.
    """
    if not defined:
        return f"{rank_by} is undefined on {_these(images)}: there is no truth to find, so the order means nothing."
    if rows == 1:
        return f"There is one row on {_these(images)}: nothing to compare it with."
    if min(defined) == 1:
        alone = "One image tells" if len(images) == 1 else "A fold of one image tells"
        return f"{alone} nothing of other images: no row can be told from another. Validate on more images."
    if unknown:
        which = f"row{'s' * (len(unknown) > 1)} {ranks(unknown)}"
        return f"No interval could be computed for {which} on {_these(images)}: what chance could have done is unknown."
    where = f"{_these(images)} (95 % paired bootstrap of {rank_by})"
    return " ".join([_ties(tied, rows, where), *_caveats(images, defined, seeds)])


def _caveats(images: Sequence[int], defined: Sequence[int], seeds: int) -> list[str]:
    """Say what the intervals do not hold."""
    caveats = []
    if missing := len(images) - len(defined):
        caveats.append(f"Left out, since without truth: {counted(missing, 'fold')}.")
    if sum(defined) < FEW_IMAGES:
        caveats.append(f"So few images ({sum(defined)}) give rough intervals.")
    if seeds == 1:
        caveats.append("What another seed would change is not in the intervals: there are rows of one seed.")
    elif seeds < FEW_SEEDS:
        caveats.append(f"The intervals are too narrow for what other seeds would change: there are rows of {seeds}.")
    if len(defined) > 1:
        caveats.append(
            "Each fold is a training by itself, whose noise is in the intervals only as far as its seeds show it."
        )
    return caveats


def ranks(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text: `1 to 3, 5 and 7`."""
    runs = []
    for _, pairs in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in pairs]
        runs += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return " and ".join([", ".join(runs[:-1]), runs[-1]] if len(runs) > 1 else runs)


def _ties(tied: Sequence[int], rows: int, where: str) -> str:
    count = len(tied)
    if count == 1:
        return f"The best row is better than all others beyond chance on {where}."
    if count == rows:
        return f"No row can be told from the best on {where}: all {count} are one model."
    others = f"Row {tied[1]}" if count == 2 else f"Rows {ranks(tied[1:])}"
    told = f"{others} cannot be told from the best on {where}"
    if tied[-1] == count:
        return f"{told}: your top {count} are one model."
    return f"{told}; a tied row below one that is not varies more from image to image."


def _these(images: Sequence[int]) -> str:
    these = "this 1 image" if sum(images) == 1 else f"these {sum(images)} images"
    return f"{these} of {len(images)} folds" if len(images) > 1 else these


def notes(found: Sequence[Entry], metric: Metric) -> tuple[str, ...]:
    """Say what a reader of the leaderboard should know: folds and seeds that are missing, runs that repeat others.

    Args:
        found: all entries of the leaderboard.
        metric: what it is ranked by.
    """
    tables = len({entry.image_sets for entry in found})
    several = (
        f"Not all rows were scored on the same images: there are {tables} tables. Numbers of different tables must not "
        "be compared.",
    )
    chosen = (
        f"{metric.key} uses results above a score threshold that was chosen in validation, checkpoint by checkpoint: "
        "where that was on these images, the values are a little too good, and the intervals do not show it.",
    )
    return (
        *several[: tables - 1],
        *chosen[: metric.has_threshold],
        *_missing_folds(found),
        *_missing_seeds(found),
        *_repeated(found),
    )


def _missing_folds(found: Sequence[Entry]) -> list[str]:
    """Name the entries whose image sets are some of those that another entry covers."""
    missing: dict[tuple[str, int, int], list[Entry]] = {}
    for entry in found:
        mine = set(entry.image_sets)
        most = max((len(other.image_sets) for other in found if mine < set(other.image_sets)), default=0)
        if most:
            missing.setdefault((entry.setting, len(mine), most), []).append(entry)
    return [
        f"{setting}, {_steps(rows)}: scored on {have} of {counted(most, 'set')} of validation images (folds) that "
        "others cover, so in a table of their own. Runs may be missing, killed or not finished yet."
        for (setting, have, most), rows in missing.items()
    ]


def _missing_seeds(found: Sequence[Entry]) -> list[str]:
    """Name the entries that have fewer seeds than others of their table."""
    missing: dict[tuple[str, int, int], list[Entry]] = {}
    for entry in found:
        most = max(other.seeds for other in found if other.image_sets == entry.image_sets)
        if entry.seeds < most:
            missing.setdefault((entry.setting, entry.seeds, most), []).append(entry)
    return [
        f"{setting}, {_steps(rows)}: {counted(have, 'seed')}, where others of the table have {most}."
        for (setting, have, most), rows in missing.items()
    ]


def _repeated(found: Sequence[Entry]) -> list[str]:
    """Name runs of the same setting, seed and images, which count as one seed."""
    repeats: dict[tuple[str, ...], None] = {}
    for entry in found:
        by_place: dict[tuple[str, int], list[str]] = {}
        for candidate in entry.candidates:
            by_place.setdefault((candidate.image_set, candidate.seed), []).append(candidate.run)
        repeats |= dict.fromkeys(tuple(sorted(set(runs))) for runs in by_place.values() if len(runs) > 1)
    return [
        f"{' and '.join(runs)} are of the same setting, seed and images: their average counts as one seed."
        for runs in repeats
    ]


def _steps(rows: Sequence[Entry]) -> str:
    """Return the steps of entries as text; an average is named by its last step."""
    steps = [f"{entry.step}" + " (averaged weights)" * (entry.kind == "average") for entry in rows]
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(steps[:-1])} and {steps[-1]}"
