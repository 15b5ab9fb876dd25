"""Measure the seconds per step, and the part of them spent waiting for data."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import pytorch_lightning as pl

from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.module import Batch

RECENT = 50
"""Steps whose median predicts the rest of the run."""


class Timing(StepCallback):
    """Measure each optimizer step from the end of the one before; acts before the callbacks that write.

    On a GPU the launch of kernels is measured; the network waits for the device several times in a step (NMS,
    sampling), so that the numbers stay close, and what the device has left to do when the losses are fetched counts
    to the step that has just ended. The time of writing (logs, trackers, checkpoints) is left out.

    Attributes:
        step_seconds: wall-clock time of the last step, with its wait for data.
        data_seconds: the part of it between the end of a batch and the start of the next one.
    """

    def __init__(self) -> None:
        self.step_seconds = 0.0
        self.data_seconds = 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._step_start = self._batch_end = time.perf_counter()
        self._waited = 0.0

    @property
    def typical_step(self) -> float:
        """Median seconds of the recent steps; 0 before the first."""
        return median(self._recent) if self._recent else 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.restart()

    def restart(self) -> None:
        """Let the next step begin now: the time of a validation belongs to none."""
        self._step_start = self._batch_end = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Count the time since the last batch as a wait for data."""
        self._waited += time.perf_counter() - self._batch_end

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Remember when the batch ended."""
        self._batch_end = time.perf_counter()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Close the step."""
        self.step_seconds, self.data_seconds = self._batch_end - self._step_start, self._waited
        self._recent.append(self.step_seconds)
        self._step_start, self._waited = self._batch_end, 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock while logs and checkpoints are written. Pauses do not nest."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._skip(time.perf_counter() - start)

    @contextmanager
    def finishing_step(self) -> Iterator[None]:
        """Count the body, a wait for the device, to the step that has just ended; not within a pause."""
        start = time.perf_counter()
        yield
        wait = time.perf_counter() - start
        self._skip(wait)
        self.step_seconds += wait
        if self._recent:
            self._recent[-1] += wait

    def _skip(self, seconds: float) -> None:
        """Let the next step, and its wait for data, begin later."""
        self._step_start += seconds
        self._batch_end += seconds
