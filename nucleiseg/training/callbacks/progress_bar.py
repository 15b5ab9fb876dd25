"""Show the progress of a run: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nucleiseg.progress import LINE_INTERVAL, duration, echo
from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.callbacks.timing import Timing


class StepProgressBar(StepCallback, ProgressBar):
    """Show steps, loss, learning rate, seconds per step and the time left, on the first rank alone.

    The loss is the last one flushed: reading it from the device at every step would slow training down.

    Args:
        of: steps of the whole run.
        timing: measures the seconds.
        metrics: has the last loss and learning rate.
    """

    def __init__(self, of: int, timing: Timing, metrics: MetricsLog) -> None:
        super().__init__()
        self.is_enabled = True
        self.of = of
        self.timing = timing
        self.metrics = metrics
        self._bar: Progress | None = None
        self._last_line = 0.0

    def disable(self) -> None:
        """Show nothing: Lightning calls this on all ranks but the first."""
        self.is_enabled = False

    def enable(self) -> None:
        """Show the progress again."""
        self.is_enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar where there is a terminal."""
        self._last_line = time.monotonic()
        if not (self.is_enabled and sys.stderr.isatty()):
            return
        columns = (TextColumn("Training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, TextColumn("{task.description}"), console=Console(stderr=True))
        self._bar.start()
        self._bar.add_task("", total=self.of, completed=trainer.global_step)

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Update the bar, or print a line every `LINE_INTERVAL` seconds."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step, description=self.describe(step))
        elif self.is_enabled and (step == self.of or time.monotonic() - self._last_line >= LINE_INTERVAL):
            self._last_line = time.monotonic()
            echo(f"step {step}/{self.of}  {self.describe(step)}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the bar as it is."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the bar as it is, so that the error message stands below it."""
        self._close()

    def describe(self, step: int) -> str:
        """Return loss, learning rate, times and ETA as one line."""
        parts = []
        if self.metrics.latest:
            parts += [f"loss {self.metrics.latest['train/loss']:.3f}", f"lr {self.metrics.latest['lr']:.2g}"]
        parts += [f"{self.timing.typical_step:.2f} s/step", f"data {self.timing.data_seconds:.2f} s"]
        parts.append(f"ETA {duration((self.of - step) * self.timing.typical_step)}")
        return "  ".join(parts)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
