"""Set up Lightning's Trainer for a run: its callbacks in order, its precision, its loop."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from nucleiseg.errors import InputError
from nucleiseg.models.precision import Precision
from nucleiseg.models.precision_context import float32_context
from nucleiseg.training.callbacks.checkpoints import Checkpoints
from nucleiseg.training.callbacks.folder_watch import FolderWatch
from nucleiseg.training.callbacks.interruption import Interruption
from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.progress_bar import StepProgressBar
from nucleiseg.training.callbacks.status import Status
from nucleiseg.training.callbacks.timing import Timing
from nucleiseg.training.callbacks.validation_scores import ValidationScores
from nucleiseg.training.loggers import MetricsCsv
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.resume import StateFiles
from nucleiseg.training.settings import TrainerSettings

PRECISIONS = {"32": "32-true", "tf32": "32-true", "16-mixed": "16-mixed", "bf16-mixed": "bf16-mixed"}
"""Lightning's names of `trainer.precision`; the callback `Float32Arithmetic` sets the precision of float32 products."""


class Float32Arithmetic(pl.Callback):
    """Set the precision of float32 products in each process of a run, which Lightning leaves to PyTorch's settings.

    A callback, because a `with` block around the training would not reach processes that Lightning spawns.

    Args:
        precision: `trainer.precision`.
    """

    def __init__(self, precision: Precision) -> None:
        self.precision = precision
        self._until_the_end = ExitStack()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Set the precision before the first step."""
        self._until_the_end.enter_context(float32_context(self.precision, trainer.strategy.root_device))

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the earlier precision."""
        self._until_the_end.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore it after an error or Ctrl-C, when Lightning calls no teardown."""
        self._until_the_end.close()


def run_callbacks(
    run_dir: Path,
    csv: MetricsCsv,
    settings: TrainerSettings,
    plan: CheckpointPlan,
    *,
    overlays: int = 0,
    start_step: int = 0,
    more: Sequence[pl.Callback] = (),
) -> list[pl.Callback]:
    """Return the callbacks of a run, in the order in which they must act at the end of a step.

    The clock stops first. The log comes after the user's callbacks, which may stop the run: the row of a last step is
    written with its validation. Status and progress bar show what the others found.

    Args:
        run_dir: the run's folder.
        csv: the logger of `metrics.csv`.
        settings: of the trainer.
        plan: when checkpoints are written.
        overlays: how many validation images are shown.
        start_step: steps that a resumed run has done.
        more: the user's callbacks; a progress bar among them takes the place of ours.
    """
    timing, scores = Timing(), ValidationScores(overlays)
    metrics = MetricsLog(csv, settings.log_every, timing, plan.is_checkpoint)
    checkpoints = Checkpoints(run_dir, plan, metrics, scores)
    has_bar = any(isinstance(callback, ProgressBar) for callback in more)
    return [
        Float32Arithmetic(settings.precision),
        timing,
        FolderWatch(run_dir),
        scores,
        *more,
        metrics,
        Status(run_dir, plan.max_steps, settings.log_every, start_step, timing),
        *([] if has_bar else [StepProgressBar(plan.max_steps, timing, metrics)]),
        checkpoints,
        Interruption(checkpoints),
    ]


def make_trainer(
    run_dir: Path,
    settings: TrainerSettings,
    plan: CheckpointPlan,
    callbacks: list[pl.Callback],
    loggers: Sequence[Logger] = (),
    profiler: Profiler | None = None,
    *,
    validates: bool = True,
) -> pl.Trainer:
    """Return Lightning's Trainer for one epoch of `max_steps` steps.

    Args:
        run_dir: the run's folder.
        settings: length, devices, precision.
        plan: when checkpoints are written and validated.
        callbacks: those of `run_callbacks`.
        loggers: `MetricsCsv` first: its folder is `Trainer.log_dir`.
        profiler: a profiler of Lightning.
        validates: there are validation images.

    Raises:
        InputError: if the machine has no such device, or Lightning refuses a callback.
    """
    try:
        return pl.Trainer(
            accelerator=settings.accelerator_here,
            devices=settings.devices,
            num_nodes=settings.num_nodes,
            sync_batchnorm=settings.sync_batchnorm,
            strategy=settings.strategy,
            plugins=[StateFiles()],
            precision=PRECISIONS[settings.precision],  # type: ignore[arg-type]
            max_epochs=1,
            max_steps=settings.max_steps,
            accumulate_grad_batches=settings.accumulate,
            gradient_clip_val=settings.clip_norm,
            detect_anomaly=settings.detect_anomaly,
            callbacks=callbacks,
            logger=loggers,
            log_every_n_steps=settings.log_every,
            profiler=profiler,
            default_root_dir=run_dir,
            enable_model_summary=False,
            use_distributed_sampler=False,
            # In batches, whatever the epoch; `Checkpoints` has a last step validated that is not a multiple.
            val_check_interval=plan.every * plan.validate_every * settings.accumulate,
            check_val_every_n_epoch=None,
            limit_val_batches=None if validates else 0,
            num_sanity_val_steps=0,
        )
    except MisconfigurationException as error:
        raise InputError(
            f"accelerator={settings.accelerator} devices={settings.devices} "
            f"strategy={settings.strategy} does not work on this computer: {error}"
        ) from error
