"""Log a row for each step, and send the rows to all loggers every few steps."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from nucleiseg.run_folder import INDEX
from nucleiseg.training.callbacks.folder_watch import FolderLostError
from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.callbacks.timing import Timing
from nucleiseg.training.divergence import first_not_finite, stop_at
from nucleiseg.training.loggers import MetricsCsv, close_logger, draw
from nucleiseg.training.module import Batch


class MetricsLog(StepCallback):
    """Log the losses, learning rate and times of each step; stop the run at a loss that is not finite.

    Lightning's `self.log` would log one step of `log_every`, and of one rank. Here the losses stay on their device
    until a flush copies those of all steps at once, so that no step waits for the device.

    Args:
        csv: the logger of `metrics.csv`, one of the trainer's.
        log_every: steps between two flushes.
        timing: measures the times.
        is_checkpoint: whether a checkpoint is written after a step: `Checkpoints` then flushes the log itself, so that
            the step's row has the columns of its validation.

    Attributes:
        latest: the last row that was fetched from the device.
    """

    def __init__(self, csv: MetricsCsv, log_every: int, timing: Timing, is_checkpoint: Callable[[int], bool]) -> None:
        self.csv = csv
        self.log_every = log_every
        self.timing = timing
        self.is_checkpoint = is_checkpoint
        self.latest: dict[str, float] = {}
        self._batches: list[tuple[Tensor, list[str]]] = []  # of the step under way: (1 + L,) losses, names of images
        self._losses: list[Tensor] = []  # of each step since the last flush, as are the next two
        self._images: list[list[str]] = []
        self._rows: list[dict[str, float]] = []
        self._unwritten: list[dict[str, float]] = []
        self._lr = 0.0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Keep the learning rate: when the step ends, the optimizer has the next one's already."""
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Keep the batch's losses on their device."""
        self._batches.append((outputs["losses"], [target.name for target in batch[1]]))
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Close the step's row; flush after every `log_every` steps."""
        self._losses.append(torch.stack([losses for losses, _ in self._batches]).mean(dim=0))
        self._images.append([name for _, names in self._batches for name in names])
        times = {"time/step": self.timing.step_seconds, "time/data": self.timing.data_seconds}
        self._rows.append({"step": step, "lr": self._lr, **times})
        self._batches = []
        if step % self.log_every == 0 and not (self.is_checkpoint(step) or trainer.should_stop):
            rows = self.fetch(trainer)
            with self.timing.paused():
                self.write(trainer, rows)

    def fetch(self, trainer: pl.Trainer) -> list[dict[str, float]]:
        """Return the rows since the last flush, with one copy from the device, which the last row's seconds count.

        Raises:
            InputError: naming a loss that is not finite; the rows up to it are kept for `on_exception`.
        """
        with self.timing.finishing_step():
            rows, images = self._collect(trainer)
        if not rows:
            return rows
        rows[-1]["time/step"] = self.timing.step_seconds
        self._unwritten = rows
        if (bad := first_not_finite(rows)) is not None:
            self._unwritten = rows[: bad + 1]
            stop_at(rows[bad], images[bad], saved=self.has_checkpoints)
        self.latest = rows[-1]
        return rows

    def _collect(self, trainer: pl.Trainer) -> tuple[list[dict[str, float]], list[list[str]]]:
        """Return the rows since the last flush, losses as means over all ranks, and this rank's images of each step.

        Every rank must call it at the same step.
        """
        rows, losses, images = self._rows, self._losses, self._images
        self._rows, self._losses, self._images = [], [], []
        if rows:
            means = trainer.strategy.reduce(torch.stack(losses), reduce_op="mean").cpu()
            for row, values in zip(rows, means, strict=True):
                # Added up after averaging, as a single process does: the mean of the ranks' sums rounds otherwise.
                row.update(zip(self.csv.losses, [values[1:].sum().item(), *values[1:].tolist()], strict=True))
        return rows, images

    def write(self, trainer: pl.Trainer, rows: list[dict[str, float]], *, sync: bool = False) -> None:
        """Send rows to the loggers, on the first rank alone.

        Args:
            trainer: has the loggers.
            rows: as `fetch` returned them, with the `val/` columns after a validation.
            sync: have `metrics.csv` on the disk before it returns.
        """
        self._unwritten = []
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers if rows else ():
            for row in rows:
                logger.log_metrics({tag: value for tag, value in row.items() if tag != "step"}, int(row["step"]))
            logger.save()
        if sync:
            self.csv.write(sync=True)

    def draw(self, trainer: pl.Trainer, name: str, picture: np.ndarray, step: int) -> None:
        """Show a (H, W, 3) uint8 RGB picture of a validation image, on the first rank alone."""
        for logger in trainer.loggers if trainer.is_global_zero else ():
            draw(logger, f"val/{name}", picture, step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the loggers that Lightning leaves open."""
        self._close(trainer, failed=False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the rows that led to the exception; not those whose means would need the other ranks."""
        with suppress(OSError, RuntimeError):  # a full disk or a broken device must not hide the exception
            rows = self._collect(trainer)[0] if trainer.world_size == 1 else []
            if not isinstance(exception, FolderLostError):
                self.write(trainer, [*self._unwritten, *rows])
        self._close(trainer, failed=True)

    @property
    def has_checkpoints(self) -> bool:
        """Whether the run has written a step checkpoint."""
        return self.csv.path.with_name(INDEX.name).exists()

    def _close(self, trainer: pl.Trainer, *, failed: bool) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else ():
            close_logger(logger, failed=failed)
