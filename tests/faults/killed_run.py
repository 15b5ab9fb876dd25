"""A tiny run that kills its own process at a named moment."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import torch
from tiny import TinyNetwork, train_tiny

from nucleiseg.training.callbacks import checkpoints
from nucleiseg.training.callbacks.validation_scores import ValidationScores

STEPS, EVERY = 12, 3
MOMENTS = ("step", "step checkpoint", "last.ckpt", "validation", "before index.csv", "after index.csv")


def main(folder: Path, moment: str, count: int, seconds: float) -> None:
    """Train or resume in a process of its own, with a kill prepared.

    Args:
        folder: the run's folder.
        moment: one of `MOMENTS`, or `none`.
        count: how often the process passes there before it is killed.
        seconds: from then until the kill.
    """
    calls = 0

    def come_by(here: str) -> None:
        nonlocal calls
        calls += here == moment
        if here == moment and calls == count:
            if seconds:
                threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
            else:
                os.kill(os.getpid(), signal.SIGKILL)

    class Network(TinyNetwork):
        def losses(self, *arguments: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
            come_by("step" if self.training else "validation")
            return super().losses(*arguments)

    save, write_rows, start = torch.save, checkpoints.write_rows, ValidationScores.on_validation_start

    def half_saved(content: dict[str, Any], target: object, **keywords: object) -> None:
        save(content, target, **keywords)
        come_by("last.ckpt" if "loops" in content else "step checkpoint")  # written, but neither synced nor renamed

    def write_index(*arguments: Any) -> None:  # noqa: ANN401
        come_by("before index.csv")
        write_rows(*arguments)
        come_by("after index.csv")

    def start_validation(*arguments: Any) -> None:  # noqa: ANN401
        come_by("validation")
        start(*arguments)

    torch.save, checkpoints.write_rows = half_saved, write_index  # type: ignore[assignment]
    ValidationScores.on_validation_start = start_validation  # type: ignore[method-assign]
    torch.set_num_threads(1)
    train_tiny(folder, STEPS, resume=True, network=Network(), every=EVERY, log_every=2)
