"""Find runs, and read their settings, split, curves and checkpoints without importing the training."""

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
    """One training run, as far as it has come.

    Attributes:
        folder: its folder.
        name: what it is called: the folder's name, with as many of those above it as tell it from others.
        config: `config.yaml`, as nested dicts and lists.
        index: the rows of `index.csv`, one for each step checkpoint.
        metrics: the rows of `metrics.csv`, one for each step.
        status: `status.json`; empty where there is none.
        splits: `splits.json`; empty where there is none.
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
        """Return the run with the place where its data are now; itself if its data have no place (demo)."""
        data = self.config.get("data") or {}
        return replace(self, config={**self.config, "data": {**data, "root": root}}) if "root" in data else self


def read_run(folder: Path, name: str | None = None, report: Callable[[str], None] | None = None) -> Run:
    """Read the small files of a run's folder. A run that was killed, or is still running, is one too.

    Args:
        folder: the run's folder.
        name: what to call it; by default as its folder.
        report: called with a sentence if a row of `metrics.csv` is damaged, and the rows before it are taken; None: it
            raises.

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
            these. A path that exists is never read as a glob, so it may hold brackets.
        report: called with a sentence for each run that cannot be read, which is left out, and for damaged curves;
            None: the first one raises.

    Returns:
        The runs in natural order of their paths for each thing asked for, each once.

    Raises:
        InputError: if one of the things asked for does not exist or holds no run.
    """
    asked = [what] if isinstance(what, str) else list(what)
    folders = list(dict.fromkeys(folder.resolve() for text in asked for folder in _run_folders(text)))
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
            f"runs={text}: there is no run in it (a folder with {CONFIG}); name the folder of a run, or one that runs "
            "lie in."
        )
    return found


def _expand(pattern: Path) -> list[Path]:
    """Return the paths that a glob matches, in natural order; a part that exists as it stands is taken literally."""
    places = [Path(pattern.anchor)]
    for part in pattern.relative_to(pattern.anchor).parts:
        found: list[Path] = []
        for place in places:
            if (place / part).exists():  # a name with brackets is a name before it is a pattern
                found.append(place / part)
            elif place.is_dir():
                found += sorted(place.glob(part), key=lambda path: natural_key(str(path)))
        places = found
    return places


def _runs_below(place: Path, above: frozenset[Path] = frozenset()) -> list[Path]:
    """Return the place itself if it is a run's folder, else the runs at any depth below it, without hidden folders.

    Args:
        place: where to look.
        above: the folders above it, symbolic links resolved: a link to one of them would never end.
    """
    if not place.is_dir() or (real := place.resolve()) in above:
        return []
    if (place / CONFIG).is_file():
        return [place]
    inner = sorted((path for path in place.iterdir() if not path.name.startswith(".")), key=_by_name)
    return [run for path in inner for run in _runs_below(path, above | {real})]


def _by_name(path: Path) -> tuple[list[str | int], str]:
    return natural_key(path.name)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names; namesakes get the names of folders above them in front, until all differ."""
    depths = [1] * len(folders)
    while True:
        names = ["/".join(folder.parts[-depth:]) for folder, depth in zip(folders, depths, strict=True)]
        counts = Counter(names)
        if max(counts.values(), default=1) == 1:
            return names
        depths = [depth + (counts[name] > 1) for depth, name in zip(depths, names, strict=True)]
