"""Classes of a user, in a module outside the package: a callback, a logger and an optimizer."""

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger


class StopAt(pl.Callback):
    """Stop the run in the batch of a step, and keep what is monitored there."""

    def __init__(self, step: int = 10**9) -> None:
        self.step = step
        self.seen: list[set[str]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:  # noqa: ANN401
        self.seen.append(set(trainer.callback_metrics))
        if trainer.global_step == self.step:
            trainer.should_stop = True


class ListLogger(Logger):
    """Keep all metrics in a list."""

    name, version = "list", "0"

    def __init__(self, save_dir: str) -> None:
        super().__init__()
        self.directory = save_dir
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Not kept."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append((step or 0, dict(metrics)))


class Lion(torch.optim.Optimizer):
    """Steps of one size in the direction of the averaged gradient (Chen et al. 2023, algorithm 2)."""

    def __init__(
        self,
        params: Any,  # noqa: ANN401
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # noqa: ANN401
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                average = self.state[parameter].setdefault("average", torch.zeros_like(parameter))
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * average.lerp(parameter.grad, 1 - first).sign())
                average.lerp_(parameter.grad, 1 - second)
        return loss
