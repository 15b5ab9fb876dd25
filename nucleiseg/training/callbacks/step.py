"""What the callbacks share: optimiser steps instead of batches, and values of all ranks."""

from typing import Any, TypeVar

import pytorch_lightning as pl
import torch.distributed as dist

from nucleiseg.training.module import Batch

Value = TypeVar("Value")


class StepCallback(pl.Callback):
    """A callback that acts when an optimiser step is done, however many batches it took."""

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Act on the end of a step; `step` counts the optimiser steps done, from 1."""

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


def gathered(value: Value) -> list[Value]:
    """Return the values of all ranks, in their order; every rank must call it. `value` must be picklable."""
    if not (dist.is_available() and dist.is_initialized()):
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
