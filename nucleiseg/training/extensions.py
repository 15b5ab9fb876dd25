"""Callbacks, loggers and the profiler that a configuration names by `_target_`, each under a name of its own.

callbacks = make_callbacks({"mine": {"_target_": "my_package.MyCallback"}})
"""

import inspect
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger
from pytorch_lightning.profilers import Profiler

from nucleiseg.errors import InputError
from nucleiseg.run_folder import read_tracked
from nucleiseg.settings import shown
from nucleiseg.trusted_targets import check_targets, find_class, instantiate

PROFILERS = {
    "simple": "pytorch_lightning.profilers.SimpleProfiler",
    "advanced": "pytorch_lightning.profilers.AdvancedProfiler",
    "pytorch": "pytorch_lightning.profilers.PyTorchProfiler",
}
"""Lightning's short names of its profilers."""

MLFLOW_RETRIES = "2"
"""How often MLflow repeats a request to a server that does not answer, where MLFLOW_HTTP_REQUEST_MAX_RETRIES says
nothing: its own 7 hold a training up for minutes."""

Group = Mapping[str, Any] | None
"""A group of the configuration: name -> `_target_` and arguments; null entries are off."""


def check_group(group: object, expected: type, *, trusted: Collection[str] = (), from_file: bool, key: str) -> None:
    """Refuse entries of a group that may not be made; nothing is made.

    Args:
        group: a mapping of names to `_target_` and arguments, or None.
        expected: the base class of all entries.
        trusted: packages that a file may name.
        from_file: the group was read from the file of a run.
        key: where the user finds the group.

    Raises:
        InputError: a sentence for each problem.
    """
    if group is not None and not isinstance(group, Mapping):
        raise InputError(f"{key} is {shown(group)}; it accepts names, each with a _target_ and its arguments.")
    problems: list[str] = []
    for name, entry in _entries(group):
        try:
            check_targets(entry, expected, trusted=trusted, from_file=from_file, key=f"{key}.{name}")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)


def make_callbacks(group: Group, key: str = "callbacks") -> list[pl.Callback]:
    """Return the callbacks of a group that has been checked.

    Raises:
        InputError: if a class does not accept its arguments.
    """
    return [instantiate(entry, pl.Callback, from_file=False, key=f"{key}.{name}") for name, entry in _entries(group)]


def make_loggers(group: Group, run_dir: Path, key: str = "logger") -> list[Logger]:
    """Return the loggers of a group that has been checked, for a run that is new or resumed.

    Arguments that the group leaves out: `save_dir` is the run's folder; a run of W&B or MLflow has the name of the
    folder, and that of a resumed run is continued.

    Raises:
        InputError: if a class does not accept its arguments, or its package is not installed.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MLFLOW_RETRIES)
    return [
        instantiate(
            entry,
            Logger,  # type: ignore[type-abstract]
            from_file=False,
            key=f"{key}.{name}",
            given=_of_run(find_class(entry["_target_"]), run_dir),
        )
        for name, entry in _entries(group)
    ]


def make_profiler(choice: str | Mapping[str, Any] | None, run_dir: Path, key: str = "profiler") -> Profiler | None:
    """Return the profiler that a name of Lightning's or a `_target_` describes; it writes into the run's folder.

    Raises:
        InputError: if its class does not accept the arguments.
    """
    if choice is None:
        return None
    entry = {"_target_": PROFILERS[choice]} if isinstance(choice, str) else choice
    parameters = inspect.signature(find_class(entry["_target_"])).parameters
    places = {"dirpath": run_dir, "filename": "profile"}
    given = {name: value for name, value in places.items() if name in parameters}
    return instantiate(entry, Profiler, from_file=False, key=key, given=given)  # type: ignore[type-abstract]


def _entries(group: Group) -> list[tuple[str, Any]]:
    return [(name, entry) for name, entry in (group or {}).items() if entry is not None]


def _of_run(logger: type, run_dir: Path) -> dict[str, Any]:
    """Return the arguments of a logger's class that follow from the run."""
    given: dict[str, Any] = {}
    if "save_dir" in inspect.signature(logger).parameters:
        given["save_dir"] = str(run_dir)
    tracked = read_tracked(run_dir)
    identity = tracked.get("loggers", {}).get(logger.__name__)
    if issubclass(logger, WandbLogger):
        given |= {"name": run_dir.name, "group": run_dir.parent.name, "id": identity}
    elif issubclass(logger, MLFlowLogger):
        given |= {"run_name": run_dir.name, "run_id": identity}
    return given
