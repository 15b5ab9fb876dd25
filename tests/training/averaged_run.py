"""A tiny run of one or two processes with averaged weights and early stopping, one of which may send itself SIGTERM.

python averaged_run.py RUN_DIR DEVICES BATCH SIGNALED_RANK SIGNALED_CALL
"""

import os
import signal
import sys
from pathlib import Path

import torch
from tiny import LOSSES, TinyNetwork, train_tiny
from torch import Tensor, nn

from nucleiseg.structures import Target
from nucleiseg.training.extensions import make_callbacks

CALLBACKS = {
    "ema": {"_target_": "pytorch_lightning.callbacks.EMAWeightAveraging", "decay": 0.5},
    "early_stopping": {  # nothing improves by so much: the run stops after its fourth validation
        "_target_": "pytorch_lightning.callbacks.EarlyStopping",
        "monitor": "val/loss",
        "min_delta": 1e9,
        "patience": 3,
    },
}
STOPPED_AT = 8


class Signaled(TinyNetwork):
    """A function of its images alone, whichever process they are in; sends its process SIGTERM while it trains.

    Args:
        call: the call in training, counted from 1; 0: never.
    """

    def __init__(self, call: int) -> None:
        super().__init__()
        self.backbone[1] = nn.GroupNorm(2, 8)
        self.call = call

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        if self.training and self.calls == self.call:
            signal.raise_signal(signal.SIGTERM)
        total = torch.zeros(len(LOSSES))
        for image, target in zip(images, targets, strict=True):
            noise = torch.rand(len(LOSSES), generator=torch.Generator().manual_seed(target.seed or 0))
            found = self.head(self.backbone(image[None] / 255.0).mean(dim=(0, 2, 3)))
            total = total + (found - len(target) / 10 - noise) ** 2 / len(images)
        return dict(zip(LOSSES, total, strict=True))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, devices, batch, rank, call = Path(sys.argv[1]), *map(int, sys.argv[2:])
    own_rank = int(os.environ.get("LOCAL_RANK", "0"))
    (folder.parent / f"{folder.name}.pid{own_rank}").write_text(str(os.getpid()))
    train_tiny(
        folder,
        20,
        resume=True,
        network=Signaled(call if own_rank == rank else 0),
        batch=batch,
        devices=devices,
        callbacks=make_callbacks(CALLBACKS),
    )
