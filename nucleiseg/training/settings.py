"""The keys `optim`, `trainer`, `checkpoint` and `validation` of `conf/train.yaml` as frozen dataclasses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch

from nucleiseg.errors import InputError
from nucleiseg.models.plain import from_mapping
from nucleiseg.models.precision import Precision, precision_problems


@dataclass(frozen=True)
class OptimSettings:
    """Optimiser and learning rate; the defaults are the study's recipe (detectron2's solver).

    Attributes:
        name: `sgd` or `adamw`.
        lr: base learning rate, reached at the end of the warm-up.
        momentum: of SGD.
        betas: of AdamW.
        weight_decay: on weights and biases.
        weight_decay_norm: on the parameters of normalisation layers.
        schedule: `multistep` multiplies by `gamma` at each milestone; `cosine` falls to `final_factor`.
        warmup: length of the linear warm-up, as a fraction of `total_steps` (72 of 2400).
        warmup_factor: where the warm-up starts, as a fraction of `lr`.
        milestones: of `multistep`, as fractions of `total_steps` (480, 1200, 1920 and 2160 of 2400).
        gamma: of `multistep`.
        final_factor: of `cosine`, as a fraction of `lr`.
        total_steps: optimiser steps of the whole schedule; None takes `trainer.max_steps`. A resumed run keeps
            the length it was started with.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 1e-4
    weight_decay_norm: float = 0.0
    schedule: Literal["multistep", "cosine"] = "multistep"
    warmup: float = 0.03
    warmup_factor: float = 1e-4
    milestones: tuple[float, ...] = (0.2, 0.5, 0.8, 0.9)
    gamma: float = 0.1
    final_factor: float = 0.0
    total_steps: int | None = None

    def __post_init__(self) -> None:
        shares = {name: getattr(self, name) for name in ("warmup_factor", "final_factor")}
        decays = {name: getattr(self, name) for name in ("weight_decay", "weight_decay_norm")}
        _refuse(
            (0 < self.lr < math.inf, f"optim.lr is {self.lr}; it accepts a number above 0."),
            (0 <= self.momentum < 1, f"optim.momentum is {self.momentum}; it accepts a number from 0 to below 1."),
            (
                all(0 <= beta < 1 for beta in self.betas),
                f"optim.betas is {list(self.betas)}; it accepts two numbers from 0 to below 1.",
            ),
            *(
                (0 <= value < math.inf, f"optim.{name} is {value}; it accepts a number from 0.")
                for name, value in decays.items()
            ),
            (0 <= self.warmup < 1, f"optim.warmup is {self.warmup}; it accepts a fraction of the run from 0 to 1."),
            *(
                (0 <= value <= 1, f"optim.{name} is {value}; it accepts a fraction of optim.lr from 0 to 1.")
                for name, value in shares.items()
            ),
            (
                all(0 < milestone < 1 for milestone in self.milestones),
                f"optim.milestones is {list(self.milestones)}; it accepts fractions of the run between 0 and 1 "
                "(step 480 of 2400 is 0.2).",
            ),
            (0 < self.gamma <= 1, f"optim.gamma is {self.gamma}; it accepts a number above 0, up to 1."),
            (
                self.total_steps is None or self.total_steps >= 1,
                f"optim.total_steps is {self.total_steps}; it accepts a whole number from 1, or null.",
            ),
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Self:
        """Build from plain Python; an InputError names an unknown key or a value that is not accepted."""
        return from_mapping(cls, mapping, "optim")


@dataclass(frozen=True)
class TrainerSettings:
    """Length, devices and precision of a run: what Lightning's Trainer is made with.

    Attributes:
        max_steps: optimiser steps.
        accelerator: `auto` takes a CUDA GPU where there is one, else the CPU. (Matching needs float64, which Apple's
            GPUs do not have.)
        devices: processes, one device each; -1 takes all there are.
        strategy: how several devices work together; `auto` is DDP where there are several.
        num_nodes: computers.
        sync_batchnorm: `model.norm=bn` takes its statistics from the images of all processes, as one process with the
            whole batch would; on GPUs alone. Frozen and group normalisation have none: it does nothing there.
        precision: `32`, `tf32`, `16-mixed` or `bf16-mixed`: see `models.precision`. `32` is exact float32 on GPUs too.
        accumulate: batches whose gradients are averaged for one optimiser step.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        log_every: steps between two flushes of losses from the device to the log.
    """

    max_steps: int = 2400
    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = "auto"
    devices: int = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "ddp_spawn"] = "auto"
    num_nodes: int = 1
    sync_batchnorm: bool = False
    precision: Precision = "32"
    accumulate: int = 1
    clip_norm: float | None = None
    log_every: int = 10

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("max_steps", "num_nodes", "accumulate", "log_every")}
        precision = precision_problems(self.precision, self.accelerator_here, "trainer.precision")
        _refuse(
            *((False, sentence) for sentence in precision),
            *(
                (value >= 1, f"trainer.{name} is {value}; it accepts a whole number from 1.")
                for name, value in counts.items()
            ),
            (
                self.devices >= 1 or self.devices == -1,
                f"trainer.devices is {self.devices}; it accepts a number of devices, or -1 for all.",
            ),
            (
                not (self.sync_batchnorm and self.accelerator_here == "cpu"),
                f"trainer.sync_batchnorm is true with trainer.accelerator={self.accelerator}, which is the CPU here; "
                "it accepts false there: statistics over all processes (torch's SyncBatchNorm) are for GPUs.",
            ),
            (
                self.clip_norm is None or self.clip_norm > 0,
                f"trainer.clip_norm is {self.clip_norm}; it accepts a number above 0, or null.",
            ),
        )

    @property
    def accelerator_here(self) -> str:
        """The accelerator, `auto` resolved on this computer."""
        if self.accelerator == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.accelerator

    @property
    def fuses_optimiser(self) -> bool:
        """Whether torch's fused optimiser, one operator a step, can be used.

        It undoes the scaling of losses by itself, so Lightning refuses to clip gradients with it in mixed precision;
        and where losses are scaled, a run could not go on from a checkpoint that was made without it.
        """
        return not (self.precision == "16-mixed" or (self.precision == "bf16-mixed" and self.clip_norm is not None))

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Self:
        """Build from plain Python; an InputError names an unknown key or a value that is not accepted."""
        return from_mapping(cls, mapping, "trainer")


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written, and how many stay.

    Attributes:
        every: steps between two checkpoints; the last step always has one.
        keep: how many of the best by `val/ap50` stay, beside the last; None keeps all.
    """

    every: int = 200
    keep: int | None = None

    def __post_init__(self) -> None:
        _refuse(
            (self.every >= 1, f"checkpoint.every is {self.every}; it accepts a whole number of steps from 1."),
            (
                self.keep is None or self.keep >= 1,
                f"checkpoint.keep is {self.keep}; it accepts a whole number from 1, or null to keep all.",
            ),
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Self:
        """Build from plain Python; an InputError names an unknown key or a value that is not accepted."""
        return from_mapping(cls, mapping, "checkpoint")


@dataclass(frozen=True)
class ValidationSettings:
    """How much of the validation images is looked at, and how often.

    Attributes:
        every_checkpoints: validate at every n-th checkpoint, and at the last.
        images: only the first so many validation images; None takes all.
        losses: also compute the five losses on them.
        overlays: how many of them are drawn into TensorBoard.
    """

    every_checkpoints: int = 1
    images: int | None = None
    losses: bool = True
    overlays: int = 2

    def __post_init__(self) -> None:
        _refuse(
            (
                self.every_checkpoints >= 1,
                f"validation.every_checkpoints is {self.every_checkpoints}; it accepts a whole number from 1.",
            ),
            (
                self.images is None or self.images >= 1,
                f"validation.images is {self.images}; it accepts a whole number from 1, or null for all "
                "(data.val=none trains without validation).",
            ),
            (self.overlays >= 0, f"validation.overlays is {self.overlays}; it accepts a whole number from 0."),
        )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Self:
        """Build from plain Python; an InputError names an unknown key or a value that is not accepted."""
        return from_mapping(cls, mapping, "validation")


def checked_seed(value: object) -> int:
    """Return `seed`, which torch and NumPy must both take; an InputError says what it accepts."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise InputError(f"seed is {value!r}; it accepts a whole number from 0 to 2**63 - 1.")
    return value


def _refuse(*checks: tuple[bool, str]) -> None:
    problems = [sentence for accepted, sentence in checks if not accepted]
    if problems:
        raise InputError(problems)
