"""Learning rate as a function of the step, in fractions of the whole run: a shorter run stays a whole one."""

import math
from dataclasses import dataclass
from typing import Literal

from nucleiseg.training.settings import OptimSettings


def warmup_multistep(
    step: int,
    total_steps: int,
    *,
    warmup: float = 0.03,
    warmup_factor: float = 1e-4,
    milestones: tuple[float, ...] = (0.2, 0.5, 0.8, 0.9),
    gamma: float = 0.1,
) -> float:
    """Return the factor on the base learning rate: linear warm-up, then a drop at each milestone.

    The warm-up starts at `warmup_factor` and reaches, at its end, what the milestones say there, as detectron2's
    `WarmupParamScheduler` does. With the defaults and 2400 steps it is the study's: 72 steps of warm-up, drops at
    480, 1200, 1920 and 2160.

    Args:
        step: optimiser steps done before this one (0 for the first).
        total_steps: optimiser steps of the run.
        warmup: length of the warm-up, as a fraction of the run.
        warmup_factor: factor at step 0.
        milestones: fractions of the run.
        gamma: factor of each drop.
    """
    length = round(warmup * total_steps)
    reached = gamma ** sum(max(step, length) >= round(milestone * total_steps) for milestone in milestones)
    return _warmed_up(step, length, warmup_factor, reached)


def warmup_cosine(
    step: int, total_steps: int, *, warmup: float = 0.03, warmup_factor: float = 1e-4, final_factor: float = 0.0
) -> float:
    """Return the factor on the base learning rate: linear warm-up to 1, then half a cosine to `final_factor`.

    Args:
        step: optimiser steps done before this one (0 for the first).
        total_steps: optimiser steps of the run; `final_factor` is reached after them.
        warmup: length of the warm-up, as a fraction of the run.
        warmup_factor: factor at step 0.
        final_factor: factor at the end.

    Examples:
        >>> [round(warmup_cosine(step, 100, warmup=0.1, warmup_factor=0.0), 3) for step in (0, 5, 10, 55, 100)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    length = round(warmup * total_steps)
    progress = min(max(step - length, 0) / max(total_steps - length, 1), 1.0)
    reached = final_factor + (1 - final_factor) * (1 + math.cos(math.pi * progress)) / 2
    return _warmed_up(step, length, warmup_factor, reached)


def _warmed_up(step: int, length: int, start: float, reached: float) -> float:
    """Return the line from `start` at step 0 to `reached` at step `length`, and `reached` afterwards."""
    if step >= length:
        return reached
    return start + (reached - start) * step / length


@dataclass
class Schedule:
    """A schedule as torch's `LambdaLR` takes it: `schedule(step)` is the factor on the base learning rate.

    An object, not a function: `LambdaLR` saves its attributes in the checkpoint and restores them, and so a
    resumed run keeps the length it was started with, whatever `trainer.max_steps` says now.
    """

    kind: Literal["multistep", "cosine"]
    total_steps: int
    warmup: float
    warmup_factor: float
    milestones: tuple[float, ...]
    gamma: float
    final_factor: float

    @classmethod
    def of(cls, optim: OptimSettings, max_steps: int) -> "Schedule":
        """Take the schedule's part of the settings; `max_steps` is the length where `optim` has none."""
        return cls(
            kind=optim.schedule,
            total_steps=optim.total_steps or max_steps,
            warmup=optim.warmup,
            warmup_factor=optim.warmup_factor,
            milestones=optim.milestones,
            gamma=optim.gamma,
            final_factor=optim.final_factor,
        )

    def __call__(self, step: int) -> float:
        """Return the factor for the step that follows `step` steps done."""
        if self.kind == "cosine":
            return warmup_cosine(
                step,
                self.total_steps,
                warmup=self.warmup,
                warmup_factor=self.warmup_factor,
                final_factor=self.final_factor,
            )
        return warmup_multistep(
            step,
            self.total_steps,
            warmup=self.warmup,
            warmup_factor=self.warmup_factor,
            milestones=self.milestones,
            gamma=self.gamma,
        )
