"""The loop, kept boring: a sum of named losses, an optimiser, a schedule."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.run_folder import INDEX
from nucleiseg.structures import Target
from nucleiseg.training.divergence import diverged, first_clause
from nucleiseg.training.schedule import Schedule
from nucleiseg.training.settings import OptimSettings

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)

Batch = tuple[list[Tensor], list[Target]]


class NucleiModule(pl.LightningModule):
    """A Mask R-CNN as Lightning trains it; its weights are saved under `network.`.

    Args:
        network: in training, `network(images, targets)` gives a dict of its `loss_names`.
        metadata: what a checkpoint says of itself; the callbacks keep its step and score threshold up to date.
        optim: the optimiser.
        schedule: factor on the learning rate for each step.
        seed: seeds torch before every step, so that anything drawn in it is a function of seed, step and rank.
        fused: the optimiser is torch's fused one: an operator a step instead of several a parameter. See
            `TrainerSettings.fuses_optimiser`.
    """

    def __init__(
        self,
        network: MaskRCNN,
        metadata: Metadata,
        optim: OptimSettings,
        schedule: Schedule,
        seed: int = 0,
        *,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.network = network
        self.metadata = metadata
        self.optim = optim
        self.schedule = schedule
        self.seed = seed
        self.fused = fused

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed torch for this step: what was drawn before a resume, or by validation, leaves no trace."""
        position = batch_idx * self.trainer.world_size + self.global_rank
        torch.manual_seed((self.seed * 0x9E3779B97F4A7C15 + position) % 2**63)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss to minimise, and `losses` (1 + L,) float32: the sum, then the L losses, detached.

        Raises:
            InputError: if the network finds that it has diverged.
        """
        images, targets = batch
        try:
            losses = self.network(images, targets)
        except FloatingPointError as error:
            lr = self.trainer.optimizers[0].param_groups[0]["lr"]
            names = [target.name for target in targets]
            saved = (Path(self.trainer.default_root_dir) / INDEX).exists()
            raise diverged(self.trainer.global_step + 1, first_clause(error), lr, names, saved=saved) from error
        total = torch.stack([losses[name].float() for name in self.network.loss_names]).sum()
        parts = [losses[name].detach().float() for name in self.network.loss_names]
        return {"loss": total, "losses": torch.stack([total.detach(), *parts])}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimiser and its schedule, stepped with every optimiser step.

        A fused SGD needs a gradient of each parameter from the first step on: an image without nuclei gives them, too.
        """
        groups = parameter_groups(self.network, self.optim.weight_decay, self.optim.weight_decay_norm)
        fused = self.fused or None  # None: torch chooses the best of the others
        optimizer: torch.optim.Optimizer
        if self.optim.name == "adamw":
            optimizer = torch.optim.AdamW(groups, lr=self.optim.lr, betas=self.optim.betas, fused=fused)
        else:
            optimizer = torch.optim.SGD(groups, lr=self.optim.lr, momentum=self.optim.momentum, fused=fused)
        scheduler = LambdaLR(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the network, so that `last.ckpt` predicts as a step checkpoint does."""
        checkpoint["nucleiseg"] = self.metadata.to_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take back the score threshold and what the run started from, and let a run that had ended go on.

        Lightning marks the last batch in the state of its loop, and would end at once.
        """
        said = checkpoint["nucleiseg"]
        self.metadata = replace(self.metadata, score_threshold=said["score_threshold"], weights=said["weights"])
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False


def parameter_groups(network: nn.Module, weight_decay: float, weight_decay_norm: float) -> list[dict[str, Any]]:
    """Split the trained parameters by their weight decay, as detectron2's solver does.

    Args:
        network: its parameters without gradient are left out.
        weight_decay: for weights and biases.
        weight_decay_norm: for the parameters of normalisation layers.

    Returns:
        One or two parameter groups for a torch optimiser, none of them empty.
    """
    norms = {
        parameter
        for module in network.modules()
        if isinstance(module, NORMS)
        for parameter in module.parameters(recurse=False)
    }
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter not in norms], "weight_decay": weight_decay},
        {"params": [parameter for parameter in trained if parameter in norms], "weight_decay": weight_decay_norm},
    ]
    return [group for group in groups if group["params"]]
