"""What a leaderboard says in words: what can be told from it, and what is missing."""

from collections.abc import Sequence
from itertools import groupby

from nucleiseg.evaluation.leaderboard.entries import Entry
from nucleiseg.progress import counted

FEW_IMAGES = 10
"""Below so many images an interval depends on which ones they are."""


def verdict(rank_by: str, tied: Sequence[int], rows: int, images: Sequence[int], seeds: int, defined: bool) -> str:
    """Say what a table tells.

    Args:
        rank_by: the metric.
        tied: ranks of the rows that cannot be told from the best, which is among them; ascending.
        rows: number of rows.
        images: number of images of each image set.
        seeds: least number of seeds that a row has in an image set.
        defined: whether the metric is defined for the best row.
    """
    if not defined:
        return f"{rank_by} is undefined on {_these(images)}: there is no truth to find, so the order means nothing."
    if rows == 1:
        return f"There is one row on {_these(images)}: nothing to compare it with."
    if min(images) == 1:
        alone = "One image tells" if len(images) == 1 else "A fold of one image tells"
        return f"{alone} nothing of other images: no row can be told from another. Validate on more images."
    caveats = []
    if sum(images) < FEW_IMAGES:
        caveats.append(f"So few images ({sum(images)}) give rough intervals.")
    if seeds == 1:
        caveats.append("What another seed would change is not in them: there are rows of one seed.")
    return " ".join([_ties(tied, rows, f"{_these(images)} (95 % paired bootstrap of {rank_by})"), *caveats])


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
    together = f"your top {count} are" if tied[-1] == count else f"these {count} are"
    others = f"Row {tied[1]}" if count == 2 else f"Rows {ranks(tied[1:])}"
    return f"{others} cannot be told from the best on {where}: {together} one model."


def _these(images: Sequence[int]) -> str:
    these = "this 1 image" if sum(images) == 1 else f"these {sum(images)} images"
    return f"{these} of {len(images)} folds" if len(images) > 1 else these


def notes(found: Sequence[Entry]) -> tuple[str, ...]:
    """Say what a reader of the leaderboard should know: folds and seeds that are missing, runs that repeat others.

    Args:
        found: all entries of the leaderboard.
    """
    tables = len({entry.image_sets for entry in found})
    several = (
        f"Not all rows were scored on the same images: there are {tables} tables. Numbers of different tables must not "
        "be compared.",
    )
    return (*several[: tables - 1], *_missing_folds(found), *_missing_seeds(found), *_repeated(found))


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
    """Name runs of the same setting, seed and images, which count as if they were of two seeds."""
    repeats: dict[tuple[str, ...], None] = {}
    for entry in found:
        by_place: dict[tuple[str, int], list[str]] = {}
        for candidate in entry.candidates:
            by_place.setdefault((candidate.image_set, candidate.seed), []).append(candidate.run)
        repeats |= dict.fromkeys(tuple(sorted(set(runs))) for runs in by_place.values() if len(runs) > 1)
    return [
        f"{' and '.join(runs)} are of the same setting, seed and images: they are averaged as if they were two seeds."
        for runs in repeats
    ]


def _steps(rows: Sequence[Entry]) -> str:
    """Return the steps of entries as text; an average is named by its last step."""
    steps = [f"{entry.step}" + " (averaged weights)" * (entry.kind == "average") for entry in rows]
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(steps[:-1])} and {steps[-1]}"
