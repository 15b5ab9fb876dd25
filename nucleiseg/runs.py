"""Find runs, and read their settings, splits, curves and checkpoints, without importing the training."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from nucleiseg.errors import InputError
from nucleiseg.files import natural_key
from nucleiseg.run_folder import CONFIG, read_config, read_splits, read_status
from nucleiseg.run_tables import read_index, read_metrics


@dataclass(frozen=True)
class Run:
    """A training run, finished or not.

    Attributes:
        folder: its folder.
        name: the folder's name, with as many parents as make it unique.
        config: `config.yaml`, as nested dicts and lists.
        index: the rows of `index.csv`, one for each step checkpoint.
        metrics: the rows of `metrics.csv`, one for each step.
        status: `status.json`; empty if missing.
        splits: `splits.json`; empty if missing.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    index: list[dict[str, str]]
    metrics: list[dict[str, str]]
    status: dict[str, Any]
    splits: dict[str, Any]

    @property
    def checkpoints(self) -> list[tuple[int, Path]]:
        """The step checkpoints that the index lists, as (optimizer steps done, file)."""
        return [(int(row["step"]), self.folder / row["path"]) for row in self.index]

    def with_data_at(self, root: str) -> Self:
        """Return the run with a new folder of its data; itself if its data have no folder (demo)."""
        data = self.config.get("data") or {}
        return replace(self, config={**self.config, "data": {**data, "root": root}}) if "root" in data else self


def read_run(folder: Path, name: str | None = None, report: Callable[[str], None] | None = None) -> Run:
    """Read a run, which may be running or killed, without its checkpoints.

    Args:
        folder: the run's folder.
        name: of the run; by default that of the folder.
        report: called with a sentence on a damaged row of `metrics.csv`, before which the rows end; None: raise.

    Raises:
        InputError: if there is no run in the folder, or one of its files is damaged.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} holds no {CONFIG}, so it is not a run; name a run's folder, such as runs/NAME.")
    return Run(
        folder=folder,
        name=folder.resolve().name if name is None else name,
        config=read_config(folder),
        index=read_index(folder),
        metrics=read_metrics(folder, report=report),
        status=read_status(folder),
        splits=read_splits(folder),
    )


def find_runs(what: str | Sequence[str], report: Callable[[str], None] | None = None) -> list[Run]:
    """Find runs.

    Args:
        what: a run's folder, a folder with runs in it at any depth (a sweep's), a glob of such folders, or a list of
            these. An existing path, which may contain brackets, is not used as a glob.
        report: called with a sentence for each unreadable run, which is omitted, and for damaged curves; None: raise.

    Returns:
        The distinct runs, for each item of `what` in natural order of their paths.

    Raises:
        InputError: if an item of `what` does not exist or contains no run.
    """
    places = [what] if isinstance(what, str) else what
    folders = list(dict.fromkeys(folder.resolve() for text in places for folder in _run_folders(text)))
    runs = []
    for folder, name in zip(folders, _names(folders), strict=True):
        try:
            runs.append(read_run(folder, name, report))
        except InputError as error:
            if report is None:
                raise
            report(str(error))
    return runs


def _run_folders(text: str) -> list[Path]:
    places = _expand(Path(text).expanduser())
    if not places:
        raise InputError(f"runs={text}: there is no such folder, and as a glob it matches none; check the path.")
    found = [folder for place in places for folder in _runs_below(place)]
    if not found:
        raise InputError(
            f"runs={text}: there is no run in it (a folder with {CONFIG}); name the folder of a run, or one that "
            "contains runs."
        )
    return found


def _expand(pattern: Path) -> list[Path]:
    """Return the paths that match a glob, in natural order; parts that exist are not used as patterns."""
    places = [Path(pattern.anchor)]
    for part in pattern.relative_to(pattern.anchor).parts:
        found: list[Path] = []
        for place in places:
            if (place / part).exists():  # also a name with brackets
                found.append(place / part)
            elif place.is_dir():
                found += sorted(place.glob(part), key=lambda path: natural_key(str(path)))
        places = found
    return places


def _runs_below(place: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Return a folder if it is a run, else the runs at any depth below it, except in hidden folders.

    Args:
        place: the folder.
        above: its parents with symbolic links resolved, to stop at links in a circle.
    """
    if not place.is_dir() or (real := place.resolve()) in above:
        return []
    if (place / CONFIG).is_file():
        return [place]
    names = sorted((path.name for path in place.iterdir() if not path.name.startswith(".")), key=natural_key)
    return [run for name in names for run in _runs_below(place / name, above | {real})]


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, prefixed with as many parents as make them unique."""
    depths = [1] * len(folders)
    while True:
        names = ["/".join(folder.parts[-depth:]) for folder, depth in zip(folders, depths, strict=True)]
        counts = Counter(names)
        if max(counts.values(), default=1) == 1:
            return names
        depths = [depth + (counts[name] > 1) for depth, name in zip(depths, names, strict=True)]
