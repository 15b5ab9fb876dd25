"""Lightning module of a Mask R-CNN: a sum of named losses, an optimizer, a schedule."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.run_folder import INDEX
from nucleiseg.run_tables import loss_columns
from nucleiseg.structures import Prediction, Target
from nucleiseg.training.divergence import diverged, first_clause
from nucleiseg.training.optimizers import make_optimizer, make_schedule, parameter_groups
from nucleiseg.training.settings import OptimSettings

Batch = tuple[list[Tensor], list[Target]]

VALIDATION_SEED = 0
"""Seed of the sampling in the validation losses: every checkpoint is measured on the same anchors."""


class ValidationOutput(TypedDict):
    """Output of `validation_step`: the instances of an image in the network's pixels, and its losses."""

    prediction: Prediction
    losses: dict[str, float] | None


class NucleiModule(pl.LightningModule):
    """A Mask R-CNN as Lightning trains it; its weights are saved under `network.`.

    Args:
        network: in training, `network(images, targets)` gives a dict of its `loss_names`.
        metadata: stored in every checkpoint; the callbacks keep its step and score threshold up to date.
        optim: the optimizer.
        total_steps: optimizer steps of a schedule that is given no length.
        seed: seeds torch before every step, so that anything sampled in it is a function of seed, step and rank.
        validation_losses: compute the losses of validation images, too.
        fused: the optimizer is torch's fused one: one operator per step instead of several per parameter. See
            `TrainerSettings.fuses_optimizer`.
    """

    def __init__(
        self,
        network: MaskRCNN,
        metadata: Metadata,
        optim: OptimSettings,
        total_steps: int,
        seed: int = 0,
        *,
        validation_losses: bool = True,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.network = network
        self.metadata = metadata
        self.optim = optim
        self.total_steps = total_steps
        self.seed = seed
        self.validation_losses = validation_losses
        self.fused = fused

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed torch for this step, which then does not depend on validations or interruptions before it."""
        position = batch_idx * self.trainer.world_size + self.global_rank
        seed = (self.seed * 0x9E3779B97F4A7C15 + position) % 2**63
        # `torch.manual_seed` seeds the same generators, and queues calls and tracebacks for devices that are not used.
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed_all(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss to minimize, and `losses` (1 + L,) float32: the sum, then the L losses, detached.

        Raises:
            InputError: if the network finds that it has diverged.
        """
        images, targets = batch
        try:
            losses = self.network(images, targets)
        except FloatingPointError as error:
            shown = [target.name for target in targets]
            raise self._diverged(self.trainer.global_step + 1, first_clause(error), shown) from error
        names = self.network.loss_names
        total = torch.stack([losses[name].float() for name in names]).sum()
        parts = [losses[name].detach().float() for name in names]
        values = torch.stack([total.detach(), *parts])
        if self._trainer is not None:
            # For callbacks to monitor; `self.log_dict` would take 3 ms of each step. `MetricsLog` feeds the loggers.
            self._trainer.callback_metrics.update(zip(loss_columns("train", names), values, strict=True))
        return {"loss": total, "losses": values}

    def validation_step(self, batch: Batch, batch_idx: int) -> ValidationOutput:
        """Return what the network finds in one validation image; `callbacks.validation_scores` scores it.

        Raises:
            InputError: if the network finds that it has diverged.
        """
        images, targets = batch
        losses = None
        try:
            if self.validation_losses:
                torch.manual_seed(VALIDATION_SEED)
                found = self.network.validation_losses(images, targets)
                names = self.network.loss_names
                values = torch.stack([found[name].float() for name in names]).tolist()
                losses = dict(zip(names, values, strict=True))
            return {"prediction": self.network(images)[0], "losses": losses}
        except FloatingPointError as error:
            raise self._diverged(self.trainer.global_step, f"in validation, {first_clause(error)}") from error

    def _diverged(self, step: int, what: str, images: Sequence[str] = ()) -> InputError:
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        return diverged(step, what, lr, images, saved=(Path(self.trainer.default_root_dir) / INDEX).exists())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and its schedule, stepped with every optimizer step.

        A fused SGD needs a gradient of each parameter from the first step on: an image without nuclei gives them, too.
        """
        groups = parameter_groups(self.network, self.optim.weight_decay, self.optim.weight_decay_norm)
        optimizer = make_optimizer(self.optim, groups, fused=self.fused)
        schedule = make_schedule(self.optim, optimizer, self.total_steps)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network, so that `last.ckpt` predicts as a step checkpoint does."""
        checkpoint["nucleiseg"] = self.metadata.to_dict()
        # Lightning does not save `should_stop`; a run that a callback has stopped must not continue when it is resumed.
        checkpoint["stopped_early"] = self.trainer.should_stop and self.trainer.global_step < self.trainer.max_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the score threshold and what the run started from, and let a run that had ended continue.

        Lightning counts batches otherwise where a checkpoint was saved after a validation, and marks the last batch of
        a run, after which it would end at once: the state is made that of a checkpoint saved right after its batch.
        """
        saved = checkpoint["nucleiseg"]
        self.metadata = replace(self.metadata, score_threshold=saved["score_threshold"], weights=saved["weights"])
        loop = checkpoint["loops"]["fit_loop"]
        progress = loop["epoch_loop.batch_progress"]
        progress["is_last_batch"] = False
        for count in (progress["total"], progress["current"]):
            count["completed"] = count["processed"] - 1
        loop["epoch_loop.state_dict"]["_batches_that_stepped"] = checkpoint["global_step"] - 1
