"""Loggers of a run: `metrics.csv` and TensorBoard always, any other of Lightning's beside them.

    loggers = [MetricsCsv(run_dir), guard(TensorBoard(run_dir)), guard(WandbLogger(save_dir=run_dir))]

`callbacks.metrics_log` hands all of them the same rows.
"""

import threading
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

from nucleiseg.files import write_json
from nucleiseg.progress import echo
from nucleiseg.run_folder import METRICS, TRACKED, read_tracked
from nucleiseg.run_tables import loss_columns, metrics_columns
from nucleiseg.training.tables import append_rows, as_text

GUARDED = ("log_metrics", "log_hyperparams", "log_graph", "log_image", "save", "finalize", "after_save_checkpoint")
"""Methods of a logger that may fail without ending the run."""


class MetricsCsv(Logger):
    """`metrics.csv`: a row for each step, which a resumed run truncates to its step (`resume.truncate_to`).

    Takes the rows of `MetricsLog` alone, whose columns are fixed; what other callbacks log is left to other loggers.

    Args:
        run_dir: the run's folder.
        losses: the network's `loss_names`.

    Attributes:
        path: the file.
        losses: the columns of the training losses: their sum, then each.
    """

    def __init__(self, run_dir: Path, losses: Sequence[str] = ()) -> None:
        super().__init__()
        self.path = run_dir / METRICS
        self.losses = loss_columns("train", losses)
        self._columns = metrics_columns(losses)
        self._rows: list[dict[str, str]] = []

    @property
    def name(self) -> str:
        """Empty, as the version: a `ModelCheckpoint` makes its folder of both."""
        return ""

    @property
    def version(self) -> str:
        """Empty: a run has one."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run's folder, which is `Trainer.log_dir`, too."""
        return str(self.path.parent)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Leave them out: `config.yaml` has them."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep the row of a step until `save`."""
        if self.losses[0] in metrics:
            self._rows.append({"step": str(step), **as_text(metrics)})

    def save(self) -> None:
        """Append the rows to the file."""
        self.write()

    def finalize(self, status: str) -> None:
        """Leave the file: `MetricsLog` has written all rows, and a full disk must not hide why a run failed."""

    def write(self, *, sync: bool = False) -> None:
        """Append the rows; with `sync`, all rows are on the disk before it returns."""
        rows, self._rows = self._rows, []
        if rows or (sync and self.path.exists()):  # a header alone would look like a run with steps
            append_rows(self.path, self._columns, rows, sync=sync)


class TensorBoard(TensorBoardLogger):
    """TensorBoard's events in the run's folder itself.

    Args:
        run_dir: the run's folder.
        start_step: steps that a resumed run has done; TensorBoard forgets the later ones.
    """

    def __init__(self, run_dir: Path, start_step: int = 0) -> None:
        super().__init__(run_dir, name="", version="", purge_step=start_step + 1)
        _silence_writer_threads()

    def save(self) -> None:
        """Write the events; not Lightning's `hparams.yaml`, since `config.yaml` says more."""
        self.experiment.flush()


def _silence_writer_threads() -> None:
    """Keep Python from printing tracebacks of TensorBoard's threads, whose errors its writer raises again."""
    earlier = threading.excepthook

    def handle(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.thread, _AsyncWriterThread):
            earlier(args)

    threading.excepthook = handle


def guard(logger: Logger) -> Logger:
    """Let a logger fail without harm: its first error is reported in a sentence, then it is not called again.

    Trackers talk to a network; a training of hours must not end because a server does. The logger keeps its class, so
    that callbacks which look for a `WandbLogger` find it.
    """
    for name in GUARDED:
        if hasattr(logger, name):
            setattr(logger, name, partial(attempt, logger, getattr(logger, name)))  # spawned processes get it pickled
    return logger


def attempt(logger: Logger, action: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Do something with a guarded logger; None where that fails or has failed before."""
    if has_failed(logger):
        return None
    try:
        return action(*args, **kwargs)
    except Exception as error:  # whatever its library raises
        logger.has_failed = True  # type: ignore[attr-defined]
        reason = error.strerror if isinstance(error, OSError) else None
        reason = reason or (str(error) or type(error).__name__).strip().splitlines()[0]
        echo(
            f"Warning: {type(logger).__name__} failed ({reason}) and gets no more of this run. Training continues; "
            "metrics.csv records every step."
        )
        return None


def has_failed(logger: Logger) -> bool:
    """Return whether a guarded logger has failed in this run."""
    return getattr(logger, "has_failed", False)


def open_logger(logger: Logger, run_dir: Path, hyperparameters: Mapping[str, Any] | None) -> None:
    """Connect a guarded logger, and remember its run in `tracked.json` for a resume; on the first rank alone.

    Args:
        logger: guarded.
        run_dir: the run's folder.
        hyperparameters: logged once, when the run starts; None in a resumed run, whose tracker has them.
    """
    attempt(logger, lambda: getattr(logger, "experiment", None))
    if isinstance(logger, TensorBoard) or has_failed(logger):
        return
    if hyperparameters is not None:
        logger.log_hyperparams(dict(hyperparameters))
    identity = attempt(logger, lambda: logger.version)
    if isinstance(logger, WandbLogger | MLFlowLogger) and identity:
        loggers = {**read_tracked(run_dir).get("loggers", {}), type(logger).__name__: str(identity)}
        write_json(run_dir / TRACKED, {"loggers": loggers})


def close_logger(logger: Logger, *, failed: bool) -> None:
    """End the run of a tracker that Lightning leaves open until the process ends: a sweep has several in a process."""
    if isinstance(logger, WandbLogger):
        attempt(logger, lambda: logger.experiment.finish(exit_code=int(failed)))


def draw(logger: Logger, tag: str, picture: np.ndarray, step: int) -> None:
    """Show a (H, W, 3) uint8 RGB picture, if the logger can."""
    if isinstance(logger, TensorBoardLogger):
        attempt(logger, logger.experiment.add_image, tag, picture, step, dataformats="HWC")
    elif isinstance(logger, MLFlowLogger):
        # MLflow does not take every character in a key.
        key = "".join(character if character.isalnum() or character in "_/. -" else "_" for character in tag)
        key = key.encode("ascii", "replace").decode().replace("?", "_")
        attempt(logger, logger.experiment.log_image, logger.run_id, picture, key=key, step=step)
    elif hasattr(logger, "log_image"):
        attempt(logger, logger.log_image, tag, [picture], step)
