"""One training run: a network, its data and the settings in, a folder with checkpoints and logs out."""

from pathlib import Path
from typing import Any

import torch

from nucleiseg.training.settings import CheckpointSettings, OptimSettings, TrainerSettings, ValidationSettings


def train(
    network: torch.nn.Module,
    metadata: Any,  # noqa: ANN401
    datamodule: Any,  # noqa: ANN401
    run_dir: Path,
    *,
    optim: OptimSettings | None = None,
    trainer: TrainerSettings | None = None,
    checkpoint: CheckpointSettings | None = None,
    validation: ValidationSettings | None = None,
    seed: int = 0,
    resume: bool = False,
) -> str:
    """Train `network` on `datamodule` into `run_dir`, and return the final state of `status.json`."""
    raise NotImplementedError
