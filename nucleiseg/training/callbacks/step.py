"""Base of callbacks that act after an optimizer step instead of a batch."""

from typing import Any

import pytorch_lightning as pl

from nucleiseg.training.module import Batch


class StepCallback(pl.Callback):
    """A callback that acts when an optimizer step is done, however many batches it took."""

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Act on the end of a step; `step` counts the optimizer steps done, from 1."""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Call `on_step_end` after the last batch of a step."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self.on_step_end(trainer, pl_module, trainer.global_step)
