"""The keys `optim`, `trainer`, `checkpoint` and `validation` of `conf/train.yaml` as typed settings.

Upper bounds are far above what trains anything: they end typing errors that would otherwise exhaust memory or hang.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import field, fields
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field

from nucleiseg.errors import InputError
from nucleiseg.models.precision import Precision, precision_problems
from nucleiseg.settings import AsText, Problems, Settings, settings, shown
from nucleiseg.trusted_targets import TRUSTED_PACKAGES, is_trusted, unknown_arguments

MOST_STEPS = 10_000_000
"""Optimizer steps: at ten per second more than eleven days; detectron2's longest COCO schedules take 270,000."""

Steps = Annotated[int, Field(ge=1, le=MOST_STEPS)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]

PROCESSES_PER_CORE = 4
"""Most training processes on the CPU: more than cores already slow each other down."""


STUDY_SCHEDULE = {"_target_": "nucleiseg.training.schedule.WarmupMultistep"}
"""The study's schedule, its arguments being the defaults of the class."""


@settings
class OptimSettings(Settings):
    """Optimizer and learning rate schedule, any of torch's kind; the defaults are the study's (detectron2's solver).

    In the configuration all keys lie beside each other: `_target_` is `target`, and keys that are not named here are
    `arguments`.

    Attributes:
        target: the optimizer's class, a `torch.optim.Optimizer`.
        lr: base learning rate, which a schedule scales.
        weight_decay: of weights and biases.
        weight_decay_norm: of the parameters of normalization layers.
        arguments: further arguments of the optimizer.
        schedule: `_target_` of an `LRScheduler`, which is stepped after every optimizer step, and its arguments; a
            `total_steps` that is null or left out is the length of the run. None: the learning rate stays as it is.
    """

    target: str = "torch.optim.SGD"
    lr: Positive = 0.01
    weight_decay: Decay = 1e-4
    weight_decay_norm: Decay = 0.0
    arguments: dict[str, Any] = field(default_factory=lambda: {"momentum": 0.9})
    schedule: dict[str, Any] | None = field(default_factory=lambda: dict(STUDY_SCHEDULE))

    @classmethod
    def from_dict(cls, mapping: object, key: str | None = None, *, complete: bool = False) -> Self:
        """Build from the keys of the configuration; see `Settings.from_dict`."""
        if not isinstance(mapping, Mapping):
            raise InputError(
                f"{key} is {shown(mapping)}; it accepts the keys _target_, lr, weight_decay, weight_decay_norm, "
                "schedule and arguments of the optimizer."
            )
        if "_target_" in mapping:
            own = {item.name for item in fields(cls)} - {"target", "arguments"}
            arguments = {name: value for name, value in mapping.items() if name not in {*own, "_target_"}}
            known = {name: value for name, value in mapping.items() if name in own}
            mapping = {**known, "target": mapping["_target_"], "arguments": arguments}
        problems = Problems()
        settings = problems.taking(lambda: super(OptimSettings, cls).from_dict(mapping, key, complete=complete))
        problems.found += _unknown_arguments(mapping, key or cls.__name__)
        problems.raise_found()
        assert settings is not None
        return settings


def _unknown_arguments(mapping: Mapping[str, Any], key: str) -> list[str]:
    """Return a sentence for each argument that an optimizer of a well-known package does not have."""
    target = mapping.get("target")
    if not isinstance(target, str) or not is_trusted(target, TRUSTED_PACKAGES):
        return []
    try:
        return unknown_arguments(target, mapping["arguments"], key, given=("params",))
    except (ImportError, AttributeError):  # `check_optim` reports a class that does not exist
        return []


def is_in_cluster() -> bool:
    """Return whether something starts this run's processes on several computers, as Lightning detects it."""
    from pytorch_lightning.plugins.environments import (
        LSFEnvironment,
        MPIEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    environments = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
    by_hand = {"MASTER_ADDR", "NODE_RANK"} <= os.environ.keys()
    return by_hand or any(environment.detect() for environment in environments)


@settings
class TrainerSettings(Settings):
    """Length, devices and precision of a run: what Lightning's Trainer is made with.

    Attributes:
        max_steps: optimizer steps.
        accelerator: `auto` takes a CUDA GPU where there is one, else the CPU. (Matching needs float64, which Apple's
            GPUs do not have.)
        devices: processes, one device each; -1 takes all there are.
        strategy: how several devices work together; `auto` is DDP where there are several.
        num_nodes: computers.
        sync_batchnorm: `model.norm=bn` takes its statistics from the images of all processes, as one process with the
            whole batch would; on GPUs alone. It has no effect on frozen and group normalization.
        precision: `32`, `tf32`, `16-mixed` or `bf16-mixed`: see `models.precision`. `32` is exact float32 on GPUs too.
        accumulate: batches whose gradients are averaged for one optimizer step.
        clip_norm: gradients are scaled down to this norm; None leaves them.
        log_every: steps between two flushes of losses from the device to the log.
        overfit_batches: train on the first so many batches of one process alone; None: on all images.
        detect_anomaly: raise an error at the operation whose gradient is NaN; slow.
        profiler: one of Lightning's by its short name, or `_target_` of a `Profiler` and its arguments.
    """

    max_steps: Steps = 2400
    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = "auto"
    devices: Annotated[int, Field(ge=1, le=64)] | Literal[-1] = 1
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true", "ddp_spawn"] = "auto"
    num_nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    sync_batchnorm: bool = False
    precision: Annotated[Precision, AsText] = "32"
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    clip_norm: Positive | None = None
    log_every: Annotated[int, Field(ge=1, le=10_000)] = 10
    overfit_batches: Annotated[int, Field(ge=1, le=10_000)] | None = None
    detect_anomaly: bool = False
    profiler: Literal["simple", "advanced", "pytorch"] | dict[str, Any] | None = None

    def contradictions(self, at: str) -> Iterator[str]:
        """Yield a sentence for what this computer cannot do; see `Settings`."""
        here = self.accelerator_here
        yield from precision_problems(self.precision, here, f"{at}precision")
        if self.sync_batchnorm and here == "cpu":
            yield (
                f"{at}sync_batchnorm is true with {at}accelerator={self.accelerator}, which is the CPU here; it "
                "accepts false there: statistics over all processes (torch's SyncBatchNorm) are for GPUs."
            )
        if self.num_nodes > 1 and not is_in_cluster():
            yield (
                f"{at}num_nodes is {self.num_nodes}; it accepts 1 here, where the other computers would be waited for "
                "without end: no SLURM, torchrun, MPI or LSF has started this process, and MASTER_ADDR and NODE_RANK "
                "are not set."
            )
        most = PROCESSES_PER_CORE * (os.cpu_count() or 1)
        if here == "cpu" and self.devices > most:
            yield (
                f"{at}devices is {self.devices}; it accepts at most {most} processes on the CPU of this computer, "
                f"{PROCESSES_PER_CORE} for each core: each takes the memory of a whole training."
            )

    @property
    def accelerator_here(self) -> str:
        """The accelerator, `auto` resolved on this computer."""
        if self.accelerator == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.accelerator

    @property
    def fuses_optimizer(self) -> bool:
        """Whether torch's fused optimizer, one operator per step, can be used.

        It unscales the losses itself, so Lightning refuses to clip gradients with it in mixed precision;
        and where losses are scaled, a run could not resume from a checkpoint that was made without it.
        """
        return not (self.precision == "16-mixed" or (self.precision == "bf16-mixed" and self.clip_norm is not None))


@settings
class CheckpointSettings(Settings):
    """When checkpoints are written, and how many stay.

    Attributes:
        every: steps between two checkpoints; the last step always has one.
        keep: how many of the best by `val/ap50` stay, beside the last; None keeps all.
    """

    every: Steps = 200
    keep: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None


@settings
class ValidationSettings(Settings):
    """How much of the validation images is looked at, and how often.

    Attributes:
        every_checkpoints: validate at every n-th checkpoint, and at the last.
        images: only the first so many validation images; None takes all.
        losses: also compute the five losses on them.
        overlays: how many of them are shown in TensorBoard.
    """

    every_checkpoints: Steps = 1
    images: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None
    losses: bool = True
    overlays: Annotated[int, Field(ge=0, le=1000)] = 2
