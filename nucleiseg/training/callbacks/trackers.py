"""Weights & Biases and MLflow, through Lightning's loggers, fed with the rows that `metrics.csv` gets.

Both are extras that nobody needs: neither is imported before a run asks for it by the key `logger`.
"""

import os
import re
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from pytorch_lightning.loggers import MLFlowLogger, WandbLogger

from nucleiseg.errors import InputError
from nucleiseg.files import write_json
from nucleiseg.run_folder import TRACKED, read_tracked
from nucleiseg.training.callbacks.sinks import OptionalSink, Rows, Sink

TrackerName = Literal["wandb", "mlflow"]

PROJECT = "nucleiseg"
"""W&B's project and MLflow's experiment, where WANDB_PROJECT or MLFLOW_EXPERIMENT_NAME names no other."""

MLFLOW_BATCH = 1000
"""Most values that MLflow takes in one request (https://mlflow.org/docs/latest/api_reference/rest-api.html)."""

MLFLOW_RETRIES = "2"
"""How often MLflow asks again a server that does not answer, unless MLFLOW_HTTP_REQUEST_MAX_RETRIES says so: its own 7
hold a training up for minutes."""

SQLITE = "sqlite:///"
"""What comes before the path of a SQLite file in a URI; the path of `sqlite:////a` is `/a`."""


class WandbSink:
    """A run at Weights & Biases, named as its folder and grouped by the folder above (a sweep's).

    Without a network: `WANDB_MODE=offline`, then `wandb sync`.

    Args:
        run_dir: the run's folder, where W&B keeps its files too.
        config: the run's configuration.
    """

    def __init__(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        self.run_dir = run_dir
        self.config = config

    def open(self) -> None:
        """Start the run, or go on with the one that the folder remembers."""
        self._logger = WandbLogger(
            name=self.run_dir.name,
            group=self.run_dir.parent.name,
            save_dir=self.run_dir,
            id=_remembered(self.run_dir, "wandb").get("id"),
            project=os.environ.get("WANDB_PROJECT", PROJECT),
        )
        self._logger.log_hyperparams(dict(self.config))
        _remember(self.run_dir, "wandb", id=self._logger.version)

    def log(self, rows: Rows) -> None:
        """Log the rows, each at its step."""
        for row in rows:
            self._logger.log_metrics({tag: value for tag, value in row.items() if tag != "step"}, int(row["step"]))

    def draw(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Log a picture at a step."""
        self._logger.log_image(tag, [picture], step)

    def close(self, *, failed: bool) -> None:
        """Finish the run: what waits to be uploaded is."""
        self._logger.experiment.finish(exit_code=int(failed))


class MLflowSink:
    """A run of MLflow, named as its folder.

    It goes where MLflow is told to keep runs (MLFLOW_TRACKING_URI), by default to `mlflow.db` in the working folder.

    Args:
        run_dir: the run's folder.
        config: the run's configuration.
    """

    def __init__(self, run_dir: Path, config: Mapping[str, Any]) -> None:
        self.run_dir = run_dir
        self.config = config

    def open(self) -> None:
        """Start the run, or go on with the one that the folder remembers, where that was kept."""
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", MLFLOW_RETRIES)
        import mlflow

        known = _remembered(self.run_dir, "mlflow")
        self._logger = MLFlowLogger(
            experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
            run_name=self.run_dir.name,
            run_id=known.get("id"),
            tracking_uri=known.get("uri") or _lasting_uri(mlflow.get_tracking_uri()),
        )
        if known:
            self._logger.experiment.update_run(self._run, status="RUNNING")
        else:  # once: MLflow refuses a parameter that a resumed run has changed
            self._logger.log_hyperparams(dict(self.config))
        _remember(self.run_dir, "mlflow", id=self._run, uri=self._logger._tracking_uri)

    def log(self, rows: Rows) -> None:
        """Log the rows in as few requests as MLflow allows, since each waits for its answer."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(tag, value, now, int(row["step"])) for row in rows for tag, value in row.items() if tag != "step"
        ]
        for start in range(0, len(metrics), MLFLOW_BATCH):
            self._logger.experiment.log_batch(self._run, metrics=metrics[start : start + MLFLOW_BATCH])

    def draw(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Log a picture at a step; signs that MLflow does not take in a name become underscores."""
        key = re.sub(r"[^a-zA-Z0-9_/. -]+", "_", tag)
        self._logger.experiment.log_image(self._run, picture, key=key, step=step)

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self._logger.finalize("failed" if failed else "success")

    @property
    def _run(self) -> str:
        run = self._logger.run_id
        assert run is not None
        return run


SINKS: Mapping[TrackerName, tuple[str, Callable[[Path, Mapping[str, Any]], Sink]]] = {
    "wandb": ("Weights & Biases", WandbSink),
    "mlflow": ("MLflow", MLflowSink),
}
"""What each value of the key `logger` stands for: its name, and what makes its sink."""


def checked_logger(name: object) -> TrackerName | None:
    """Return the value of the key `logger` if it is one and its package is installed.

    Raises:
        InputError: if not.
    """
    if name is None:
        return None
    for known in get_args(TrackerName):
        if name == known:
            _require_package(known)
            return known
    raise InputError(f"logger is {name!r}; it accepts null, {' or '.join(map(repr, get_args(TrackerName)))}.")


def make_tracker(name: TrackerName, run_dir: Path, config: Mapping[str, Any]) -> Sink:
    """Return a sink that stops by itself where the tracker fails.

    Args:
        name: which tracker.
        run_dir: the run's folder; it remembers the tracker's run for a resume.
        config: the run's configuration as plain Python, logged as its hyperparameters.
    """
    title, make = SINKS[name]
    return OptionalSink(make(run_dir, config), title)


def _lasting_uri(uri: str) -> str:
    """Return where MLflow keeps runs such that a resume from another working folder finds them: SQLite's file whole."""
    if not uri.startswith(SQLITE):
        return uri
    return SQLITE + Path(uri.removeprefix(SQLITE)).resolve().as_posix()


def _require_package(name: TrackerName) -> None:
    """Refuse a tracker whose package is missing.

    A folder of its name in the working folder, such as W&B itself writes, looks like a package without a file.
    """
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise InputError(
            f"logger={name} needs the package {name}, which is not installed: pip install 'nucleiseg[{name}]' "
            f"(in a clone: pip install -e '.[{name}]'), or leave logger=null."
        )


def _remembered(run_dir: Path, name: TrackerName) -> dict[str, str]:
    """Return what a run's folder knows of its run at a tracker; nothing where there was none, or of another one."""
    known = read_tracked(run_dir)
    return known if known.get("logger") == name else {}


def _remember(run_dir: Path, name: TrackerName, **known: object) -> None:
    write_json(run_dir / TRACKED, {"logger": name, **known})
