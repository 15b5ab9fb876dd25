"""Learning rate schedules in fractions of the whole run, so that a shorter run stays a whole one.

scheduler = WarmupMultistep(optimizer, total_steps=2400)      # stepped after every optimizer step
"""

import math
from typing import Annotated

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from nucleiseg.settings import Accepts, AsTuple, Settings, Share, settings
from nucleiseg.training.settings import Fraction, Steps

Milestones = Annotated[
    tuple[Annotated[float, Field(gt=0, lt=1)], ...],
    AsTuple,
    Field(max_length=100),
    Accepts("a list of up to 100 fractions of the run, each between 0 and 1 (step 480 of 2400 is 0.2)"),
]


@settings
class Warmup(Settings):
    """Linear warm-up of a learning rate factor.

    A factor of `LambdaLR` is an object, not a function: its attributes are saved in the state and restored, so that a
    resumed run keeps the length it was started with.

    Attributes:
        total_steps: optimizer steps of the whole schedule.
        warmup: length of the warm-up, as a fraction of `total_steps`.
        warmup_factor: factor on the base learning rate at step 0.
    """

    total_steps: Steps
    warmup: Fraction = 0.03
    warmup_factor: Share = 1e-4

    @property
    def length(self) -> int:
        """Steps of the warm-up."""
        return round(self.warmup * self.total_steps)

    def __call__(self, step: int) -> float:
        """Return the factor for the step that follows `step` steps done: a line to where the schedule starts."""
        reached = self.factor(max(step, self.length))
        if step >= self.length:
            return reached
        return self.warmup_factor + (reached - self.warmup_factor) * step / self.length

    def factor(self, step: int) -> float:
        """Return the factor after the warm-up."""
        return 1.0


@settings
class Multistep(Warmup):
    """A drop by `gamma` at each milestone.

    The warm-up reaches, at its end, what the milestones say there, as detectron2's `WarmupParamScheduler` does. With
    the defaults and 2400 steps it is the study's: 72 steps of warm-up, drops at 480, 1200, 1920 and 2160.

    Attributes:
        milestones: fractions of `total_steps`.
        gamma: factor of each drop.
    """

    milestones: Milestones = (0.2, 0.5, 0.8, 0.9)
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1

    def factor(self, step: int) -> float:
        """Return `gamma` to the power of the number of milestones passed."""
        return self.gamma ** sum(step >= round(milestone * self.total_steps) for milestone in self.milestones)


@settings
class Cosine(Warmup):
    """Half a cosine from 1 to `final_factor`, which is reached after `total_steps`.

    Attributes:
        final_factor: factor at the end.
    """

    final_factor: Share = 0.0

    def factor(self, step: int) -> float:
        """Return the cosine at the fraction of the remaining steps that is done."""
        done = min((step - self.length) / max(self.total_steps - self.length, 1), 1.0)
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * done)) / 2


class WarmupMultistep(LambdaLR):
    """Linear warm-up, then a drop at each milestone; the arguments beside the optimizer are those of `Multistep`."""

    def __init__(self, optimizer: Optimizer, total_steps: int, **shape: object) -> None:
        super().__init__(optimizer, Multistep(total_steps=total_steps, **shape))  # type: ignore[arg-type]


class WarmupCosine(LambdaLR):
    """Linear warm-up, then a cosine; the arguments beside the optimizer are those of `Cosine`."""

    def __init__(self, optimizer: Optimizer, total_steps: int, **shape: object) -> None:
        super().__init__(optimizer, Cosine(total_steps=total_steps, **shape))  # type: ignore[arg-type]
