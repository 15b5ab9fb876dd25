"""A row for each step in `metrics.csv`, TensorBoard and whatever else takes it, written every few steps."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl

from nucleiseg.run_folder import INDEX, METRICS
from nucleiseg.run_tables import loss_columns, metrics_columns
from nucleiseg.training.callbacks.folder_watch import FolderLostError
from nucleiseg.training.callbacks.loss_buffer import LossBuffer
from nucleiseg.training.callbacks.sinks import Sink
from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.callbacks.timing import Timing
from nucleiseg.training.divergence import first_not_finite, stop_at
from nucleiseg.training.module import Batch
from nucleiseg.training.tables import append_rows, as_text


class MetricsLog(StepCallback):
    """Writes what happened in each step; a loss that is not finite stops the run at the next flush.

    Args:
        run_dir: the run's folder.
        log_every: steps between two flushes.
        timing: where the seconds come from.
        is_checkpoint: whether a checkpoint follows a step: `Checkpoints` then flushes the log itself, so that the
            step's row carries the validation.
        sinks: who gets the rows beside `metrics.csv`, on the first rank of a running fit.
        losses: the network's `loss_names`.

    Attributes:
        latest: the last row that was fetched from the device.
    """

    def __init__(
        self,
        run_dir: Path,
        log_every: int,
        timing: Timing,
        is_checkpoint: Callable[[int], bool],
        sinks: Sequence[Sink] = (),
        losses: Sequence[str] = (),
    ) -> None:
        self.path = run_dir / METRICS
        self.log_every = log_every
        self.timing = timing
        self.is_checkpoint = is_checkpoint
        self.sinks = sinks
        self.latest: dict[str, float] = {}
        self._is_open = False
        self._columns = metrics_columns(losses)
        self._buffer = LossBuffer(loss_columns("train", losses))
        self._unwritten: list[dict[str, float]] = []
        self._lr = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the sinks, on the first rank alone."""
        self._is_open = trainer.is_global_zero
        for sink in self.sinks if self._is_open else ():
            sink.open()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Remember the learning rate: when the step ends, the optimiser has the next one's already."""
        self._lr = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Keep the batch's losses."""
        self._buffer.add(outputs["losses"], [target.name for target in batch[1]])
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Close the step's row; flush where it is time."""
        times = {"time/step": self.timing.step_seconds, "time/data": self.timing.data_seconds}
        self._buffer.close({"step": step, "lr": self._lr, **times})
        if step % self.log_every == 0 and not self.is_checkpoint(step):
            rows = self.fetch(trainer)
            with self.timing.paused():
                self.write(rows)

    def fetch(self, trainer: pl.Trainer) -> list[dict[str, float]]:
        """Return the rows since the last flush; what stops the run before they are written leaves them to be written.

        It waits for the device, which the last row's seconds count.

        Raises:
            InputError: telling of a loss that is not finite; the rows up to it are kept for `on_exception`.
        """
        with self.timing.finishing_step():
            rows, images = self._buffer.fetch(trainer)
        if not rows:
            return rows
        rows[-1]["time/step"] = self.timing.step_seconds
        self._unwritten = rows
        if (bad := first_not_finite(rows)) is not None:
            self._unwritten = rows[: bad + 1]
            stop_at(rows[bad], images[bad], saved=self.has_checkpoints)
        self.latest = rows[-1]
        return rows

    def write(self, rows: list[dict[str, float]], *, sync: bool = False) -> None:
        """Write rows to the CSV file and hand them to the sinks, on the first rank alone.

        Args:
            rows: as `fetch` returned them, with the `val/` columns where there are any.
            sync: have the CSV file on the disk before it returns.
        """
        self._unwritten = []
        if not (self._is_open and (rows or self.path.exists())):  # a header alone would look like a run with steps
            return
        append_rows(self.path, self._columns, [as_text(row) for row in rows], sync=sync)
        for sink in self.sinks:
            sink.log(rows)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the sinks."""
        self._close(failed=False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Write the rows that one wants to see now; not those whose means would need the other ranks."""
        with suppress(OSError, RuntimeError):  # a full disk or a broken device must not hide the exception
            rows = self._buffer.fetch(trainer)[0] if trainer.world_size == 1 else []
            if not isinstance(exception, FolderLostError):
                self.write([*self._unwritten, *rows])
        self._close(failed=True)

    @property
    def has_checkpoints(self) -> bool:
        """Whether the run has written a step checkpoint."""
        return self.path.with_name(INDEX.name).exists()

    def draw(self, name: str, picture: np.ndarray, step: int) -> None:
        """Show a (H, W, 3) uint8 RGB picture of a validation image."""
        for sink in self.sinks if self._is_open else ():
            sink.draw(f"val/{name}", picture, step)

    def _close(self, *, failed: bool) -> None:
        """Close all sinks, also where one cannot; what stops them after an exception must not hide it."""
        sinks, self._is_open = self.sinks if self._is_open else (), False
        with ExitStack() as stack:
            for sink in reversed(sinks):
                if failed:
                    stack.enter_context(suppress(Exception))
                stack.callback(sink.close, failed=failed)
