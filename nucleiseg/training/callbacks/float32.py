"""Set the precision of float32 products for a run, which Lightning leaves to PyTorch's settings."""

from contextlib import ExitStack

import pytorch_lightning as pl

from nucleiseg.models.precision import Precision
from nucleiseg.models.precision_context import float32_context


class Float32Arithmetic(pl.Callback):
    """Sets the arithmetic of float32 in each process that trains, forwards, backwards and in validation.

    A callback, because a `with` block around the training would not reach processes that Lightning spawns.

    Args:
        precision: `trainer.precision`.
    """

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self._until_the_end = ExitStack()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set it before the first step."""
        self._until_the_end.enter_context(float32_context(self.precision, trainer.strategy.root_device))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Put back what was set before."""
        self._until_the_end.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore it after an error or Ctrl-C, when Lightning calls no teardown."""
        self._until_the_end.close()
