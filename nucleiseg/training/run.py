"""One training run: a network, its data and the settings in, a folder with checkpoints and logs out."""

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.errors import InputError
from nucleiseg.failures import explained
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.progress import say
from nucleiseg.run_folder import CHECKPOINTS, LAST, holds_run, known_status, require_inside
from nucleiseg.training.callbacks.checkpoints import Checkpoints
from nucleiseg.training.callbacks.float32 import Float32Arithmetic
from nucleiseg.training.callbacks.folder_watch import FolderWatch
from nucleiseg.training.callbacks.interruption import Interruption
from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.progress_bar import ProgressBar
from nucleiseg.training.callbacks.sinks import OptionalSink, Sink, TensorBoardSink
from nucleiseg.training.callbacks.status import Status, how_to_go_on
from nucleiseg.training.callbacks.timing import Timing
from nucleiseg.training.callbacks.validation import Validation
from nucleiseg.training.module import NucleiModule
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.ranks import is_first_rank
from nucleiseg.training.resume import ResumePoint, StateFiles, resume_point, rows_until, truncate_to
from nucleiseg.training.schedule import Schedule
from nucleiseg.training.settings import CheckpointSettings, OptimSettings, TrainerSettings, ValidationSettings

PRECISIONS = {"32": "32-true", "tf32": "32-true", "16-mixed": "16-mixed", "bf16-mixed": "bf16-mixed"}
"""Lightning's names of `trainer.precision`; what it does not know of, the callback `Float32Arithmetic` does."""

TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, as shells count it."""

NOISE = (
    ".*does not have many workers.*",  # the default number of workers is chosen, not forgotten
    ".*your dataloader is not resumable.*",  # its sampler starts at the step
    ".*module\\(s\\) in eval mode at the start of training.*",  # frozen normalisation is meant to be
    ".*have no `validation_step`.*",  # a callback validates
    ".*treespec.*",  # Lightning's own use of torch
)
"""Warnings of Lightning that tell the user nothing."""


def train(
    network: MaskRCNN,
    metadata: Metadata,
    datamodule: NucleiDataModule,
    run_dir: Path,
    *,
    optim: OptimSettings | None = None,
    trainer: TrainerSettings | None = None,
    checkpoint: CheckpointSettings | None = None,
    validation: ValidationSettings | None = None,
    seed: int = 0,
    resume: bool = False,
    tracker: Sink | None = None,
) -> None:
    """Train a network, from the start or from where a run was stopped.

    The same arguments give the same weights, bit for bit on the CPU, however often the run is killed and resumed.

    Args:
        network: as it is at step 0; a resumed run loads its weights.
        metadata: what the checkpoints say of it.
        datamodule: its `total_steps` and `accumulate` are those of `trainer`, its `seed` is `seed`.
        run_dir: the run's folder; made where missing.
        optim: optimiser and learning rate.
        trainer: length, devices, precision.
        checkpoint: when checkpoints are written, and which stay.
        validation: how much is validated.
        seed: of everything that is drawn.
        resume: go on with the run in `run_dir`, from step 0 if it has saved nothing yet.
        tracker: gets rows and pictures as TensorBoard does (`callbacks.trackers`).

    Raises:
        InputError: if the folder holds a run already (without `resume`), a device is missing, a loss is not finite,
            a disk is full, or the memory is not enough.
        KeyboardInterrupt: after Ctrl-C, the run being in order.
        SystemExit: after SIGTERM, with the code `TERMINATED`, the run being in order.
    """
    optim, trainer = optim or OptimSettings(), trainer or TrainerSettings()
    checkpoint, validation = checkpoint or CheckpointSettings(), validation or ValidationSettings()
    point = starting_point(run_dir, trainer, resume)
    plan = CheckpointPlan(trainer.max_steps, checkpoint.every, validation.every_checkpoints, checkpoint.keep)
    if point.step >= trainer.max_steps:
        _call_done(run_dir, point.step)
        return
    datamodule.start_step = point.step
    schedule = Schedule.of(optim, trainer.max_steps)
    module = NucleiModule(network, metadata, optim, schedule, seed, fused=trainer.fuses_optimiser)
    with _quiet_lightning():
        acts = callbacks(run_dir, trainer, plan, validation, point.step, tracker, losses=network.loss_names)
        fitter = make_trainer(run_dir, trainer, acts)
        if fitter.is_global_zero:
            truncate_to(run_dir, point)
        _fit(fitter, module, datamodule, run_dir / LAST if point.step else None)


def _call_done(run_dir: Path, steps: int) -> None:
    """Say that nothing is left to do, in the status too: a kill after the last checkpoint left it at `running`."""
    say(f"{run_dir} has done its {steps} steps already: a larger trainer.max_steps goes on.")
    if is_first_rank() and known_status(run_dir).get("state") != "done":
        Status(run_dir, of=steps, every=1, steps=steps).write("done")


def starting_point(run_dir: Path, trainer: TrainerSettings, resume: bool) -> ResumePoint:
    """Return where a run begins.

    Raises:
        InputError: if the folder holds a run already (without `resume`), or one that accumulated otherwise or whose
            files are damaged.
    """
    if not resume:
        if holds_run(run_dir):
            raise InputError(f"{run_dir} holds a run already: resume={run_dir} goes on, another folder starts anew.")
        require_inside(run_dir, CHECKPOINTS)
        return ResumePoint()
    point = resume_point(run_dir)
    rows_until(run_dir, point.step)
    if point.batches != point.step * trainer.accumulate:
        raise InputError(
            f"{run_dir} was trained with trainer.accumulate={point.batches // point.step}, not {trainer.accumulate}: "
            "a resumed run keeps it."
        )
    return point


def callbacks(
    run_dir: Path,
    trainer: TrainerSettings,
    plan: CheckpointPlan,
    validation: ValidationSettings,
    start_step: int = 0,
    tracker: Sink | None = None,
    *,
    losses: Sequence[str],
) -> list[pl.Callback]:
    """Return the callbacks of a run, in the order in which they must act at the end of a step.

    The clock stops first; the log has the step's row before a checkpoint flushes it; the status and the bar tell
    what the others found.
    """
    timing = Timing()
    tensorboard = OptionalSink(TensorBoardSink(run_dir, start_step), "TensorBoard")
    sinks: list[Sink] = [tensorboard, *([tracker] if tracker else [])]
    metrics = MetricsLog(run_dir, trainer.log_every, timing, plan.is_checkpoint, sinks, losses)
    checkpoints = Checkpoints(run_dir, plan, metrics, Validation(validation))
    return [
        Float32Arithmetic(trainer.precision),
        timing,
        FolderWatch(run_dir),
        metrics,
        checkpoints,
        Status(run_dir, plan.max_steps, trainer.log_every, start_step, timing),
        Interruption(checkpoints, plan.max_steps),
        ProgressBar(plan.max_steps, timing, metrics),
    ]


def make_trainer(run_dir: Path, settings: TrainerSettings, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Return Lightning's Trainer for one epoch of `max_steps` steps, with our callbacks in place of its own.

    Raises:
        InputError: if the machine has no such device.
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
            default_root_dir=run_dir,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            limit_val_batches=0,
            num_sanity_val_steps=0,
        )
    except MisconfigurationException as error:
        raise InputError(
            f"trainer.accelerator={settings.accelerator} trainer.devices={settings.devices} "
            f"trainer.strategy={settings.strategy} does not work on this computer: {error}"
        ) from error


def _fit(fitter: pl.Trainer, module: NucleiModule, datamodule: NucleiDataModule, resume_from: Path | None) -> None:
    """Fit, and turn Lightning's two ways to leave, and failures of the computer, into what the doors expect."""
    try:
        fitter.fit(module, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
    except SIGTERMException as error:
        raise SystemExit(TERMINATED) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning exits with 1 while it handles Ctrl-C
            raise KeyboardInterrupt from error
        raise
    except Exception as error:
        problems = explained(error)
        if problems is None or (isinstance(error, InputError) and problems == error.problems):
            raise
        raise InputError([*problems, how_to_go_on(Path(fitter.default_root_dir))]) from error


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning from announcing devices, tips and what it does not know about our loader."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for pattern in NOISE:
            warnings.filterwarnings("ignore", pattern)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
