"""Run a training: a network, its data and settings in, a folder with checkpoints and logs out."""

import logging
import signal
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.utilities.exceptions import MisconfigurationException, SIGTERMException

from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.errors import InputError
from nucleiseg.failures import explained
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.progress import echo
from nucleiseg.run_folder import CHECKPOINTS, LAST, holds_run, known_status, require_inside
from nucleiseg.training.callbacks.status import Status, resume_sentence
from nucleiseg.training.loggers import MetricsCsv, TensorBoard, guard, has_failed, open_logger
from nucleiseg.training.module import NucleiModule
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.ranks import is_first_rank
from nucleiseg.training.resume import ResumePoint, resume_point, rows_until, truncate_to
from nucleiseg.training.settings import CheckpointSettings, OptimSettings, TrainerSettings, ValidationSettings
from nucleiseg.training.trainer import make_trainer, run_callbacks

TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, as shells count it."""

NOISE = (
    ".*does not have many workers.*",  # the default number of workers is chosen, not forgotten
    ".*your dataloader is not resumable.*",  # its sampler starts at the step
    ".*module\\(s\\) in eval mode at the start of training.*",  # frozen normalization is intended
    ".*smaller than the logging interval.*",  # short runs are logged at their end
    ".*recommended to use `self.log.*sync_dist.*",  # all ranks log the same scores
    ".*treespec.*",  # Lightning's own use of torch
)
"""Warnings of Lightning that are of no use to the user."""


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
    callbacks: Sequence[pl.Callback] = (),
    loggers: Sequence[Logger] = (),
    profiler: Profiler | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
) -> None:
    """Train a network, from the start or from where a run was stopped.

    The same arguments give the same weights, bit for bit on the CPU, however often the run is killed and resumed.

    Args:
        network: at step 0; a resumed run loads its weights.
        metadata: stored in every checkpoint.
        datamodule: its `total_steps` and `accumulate` are those of `trainer`, its `seed` is `seed`.
        run_dir: the run's folder; made where missing.
        optim: optimizer and learning rate.
        trainer: length, devices, precision.
        checkpoint: when checkpoints are written, and which stay.
        validation: how much is validated.
        seed: of everything that is sampled.
        resume: continue the run in `run_dir`, from step 0 if it has saved nothing yet.
        callbacks: further callbacks of Lightning.
        loggers: further loggers of Lightning, which get the rows and pictures that TensorBoard gets.
        profiler: a profiler of Lightning.
        hyperparameters: the part of the configuration that the loggers log.

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
    if point.step >= trainer.max_steps or point.stopped_early:
        _record_done(run_dir, point, trainer.max_steps)
        return
    datamodule.start_step, datamodule.val_images = point.step, validation.images
    datamodule.setup()
    losses, fused = validation.losses, trainer.fuses_optimizer
    module = NucleiModule(network, metadata, optim, trainer.max_steps, seed, validation_losses=losses, fused=fused)
    with _quiet_lightning():
        csv = MetricsCsv(run_dir, network.loss_names)
        every_logger = [csv, *map(guard, [TensorBoard(run_dir, point.step), *loggers])]
        every_callback = run_callbacks(
            run_dir, csv, trainer, plan, overlays=validation.overlays, start_step=point.step, more=callbacks
        )
        lightning = make_trainer(
            run_dir, trainer, plan, every_callback, every_logger, profiler, validates=bool(datamodule.val_records)
        )
        if lightning.is_global_zero:
            truncate_to(run_dir, point)
            for logger in every_logger[1:]:
                open_logger(logger, run_dir, hyperparameters if point.step == 0 else None)
            lightning.loggers = [logger for logger in every_logger if not has_failed(logger)]
        _fit(lightning, module, datamodule, run_dir / LAST if point.step else None)


def starting_point(run_dir: Path, trainer: TrainerSettings, resume: bool) -> ResumePoint:
    """Return where a run begins.

    Raises:
        InputError: if the folder holds a run already (without `resume`), or one that accumulated otherwise or whose
            files are damaged.
    """
    if not resume:
        if holds_run(run_dir):
            raise InputError(
                f"{run_dir} holds a run already: resume={run_dir} continues it, another folder starts a new run."
            )
        require_inside(run_dir, CHECKPOINTS)
        return ResumePoint()
    point = resume_point(run_dir)
    rows_until(run_dir, point.step)
    if point.batches != point.step * trainer.accumulate:
        raise InputError(
            f"{run_dir} was trained with accumulate={point.batches // point.step}, not {trainer.accumulate}: "
            "a resumed run keeps it."
        )
    return point


def _record_done(run_dir: Path, point: ResumePoint, max_steps: int) -> None:
    """Report that a resumed run has nothing left to do, and record it: a kill may have left the status at `running`."""
    if point.stopped_early:
        echo(f"{run_dir} was stopped early by a callback, after step {point.step} of {max_steps}, and is done.")
    else:
        echo(f"{run_dir} has done its {point.step} steps already: a larger max_steps continues it.")
    if is_first_rank() and known_status(run_dir).get("state") != "done":
        Status(run_dir, of=max(max_steps, point.step), every=1, steps=point.step).write("done")


def _fit(trainer: pl.Trainer, module: NucleiModule, datamodule: NucleiDataModule, resume_from: Path | None) -> None:
    """Fit, and raise what `train` documents where Lightning exits in its own ways or the computer fails."""
    try:
        trainer.fit(module, datamodule=datamodule, ckpt_path=resume_from, weights_only=True)
    except SIGTERMException as error:
        raise SystemExit(TERMINATED) from error
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # Lightning exits with 1 while it handles Ctrl-C
            raise KeyboardInterrupt from error
        raise
    except (MisconfigurationException, ModuleNotFoundError) as error:  # of a callback, a logger or a profiler
        raise InputError(str(error)) from error
    except Exception as error:
        if "conditioned on metric" in str(error):  # EarlyStopping's own sentence, which lists the metrics
            raise InputError(str(error)) from error
        problems = explained(error)
        if problems is None or (isinstance(error, InputError) and problems == error.problems):
            raise
        raise InputError([*problems, resume_sentence(Path(trainer.default_root_dir))]) from error


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
