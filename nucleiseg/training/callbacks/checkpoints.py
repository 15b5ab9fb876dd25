"""Write step checkpoints with their row in `index.csv`, and `last.ckpt` to resume from, each whole or absent."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, WeightAveraging

from nucleiseg.inference.count_threshold import COUNT_THRESHOLD
from nucleiseg.models.checkpoint import write
from nucleiseg.progress import counted, duration, echo
from nucleiseg.run_folder import CHECKPOINTS, INDEX, LAST
from nucleiseg.run_tables import INDEX_COLUMNS, read_index
from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.callbacks.validation_scores import ValidationResult, ValidationScores
from nucleiseg.training.divergence import stop_if_weights_not_finite
from nucleiseg.training.module import Batch, NucleiModule
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.tables import as_text, write_rows
from nucleiseg.writers.overlay import draw_instances


class Checkpoints(StepCallback, Checkpoint):
    """Write the files of a checkpoint in an order that a kill at any moment cannot break.

    `last.ckpt` comes last: whatever it counts as done is on the disk, and whatever is newer is written again. Where a
    step is validated, all is written at the end of the validation: a state from before it would resume without it.
    Lightning calls subclasses of `Checkpoint` after all other callbacks, so that the state holds what those have done.

    Args:
        run_dir: the run's folder.
        plan: at which steps.
        metrics: flushed before anything is written, so that no checkpoint is made of a broken network.
        scores: the result of the validation.

    Attributes:
        awaits_validation: a checkpoint is to be written as soon as its step has been validated.
    """

    def __init__(self, run_dir: Path, plan: CheckpointPlan, metrics: MetricsLog, scores: ValidationScores) -> None:
        self.run_dir = run_dir
        self.plan = plan
        self.metrics = metrics
        self.scores = scores
        self.awaits_validation = False
        self._rows: list[dict[str, float]] = []
        self._stops_after_step = False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Let a callback stop the run at the end of a step alone, since a run is resumed there."""
        self._stops_after_step |= trainer.should_stop
        trainer.should_stop = self._stops_after_step and (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Write the checkpoint that the plan has here, or prepare it where the step is validated first."""
        assert isinstance(module, NucleiModule)
        # Lightning validates the step after which it stops; by `val_check_interval` alone it would leave out a last
        # step that is not a multiple of it.
        trainer.should_stop |= step == self.plan.max_steps
        if not (self.plan.is_checkpoint(step) or trainer.should_stop):
            return
        self._rows = self.metrics.fetch(trainer)
        with self.metrics.timing.paused():
            lr = self.metrics.latest["lr"]
            stop_if_weights_not_finite(module.network, step, lr, saved=self.metrics.has_checkpoints)
            module.metadata = replace(module.metadata, step=step)
            is_validated = trainer.should_stop or self.plan.is_validated(step)
            self.awaits_validation = trainer.enable_validation and is_validated
            if not self.awaits_validation:
                self._write(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint of the step that has been validated."""
        assert isinstance(pl_module, NucleiModule)
        result = self.scores.result
        assert result is not None
        self.awaits_validation = False
        self._rows[-1].update(result.columns)
        pl_module.metadata = replace(pl_module.metadata, score_threshold=result.score_threshold)
        self._report(trainer, pl_module.metadata.step, result)
        self._write(trainer, pl_module)
        self.metrics.timing.restart()

    def save_progress(self, trainer: pl.Trainer, module: NucleiModule, step: int) -> None:
        """Write `last.ckpt` after a step without a checkpoint, for a run that stops there; every rank must call it.

        The step has no row in `index.csv` and is not validated, so that a resumed run keeps the schedule.

        Raises:
            InputError: if a loss or a weight is not finite.
        """
        if self.plan.is_checkpoint(step):
            return
        rows = self.metrics.fetch(trainer)
        lr = self.metrics.latest["lr"]
        stop_if_weights_not_finite(module.network, step, lr, saved=self.metrics.has_checkpoints)
        module.metadata = replace(module.metadata, step=step)
        self.metrics.write(trainer, rows, sync=True)
        self._write_last(trainer)

    def _write(self, trainer: pl.Trainer, module: NucleiModule) -> None:
        rows, self._rows = self._rows, []
        self.metrics.write(trainer, rows, sync=True)  # `last.ckpt` must not outlive the rows that it counts as written
        if trainer.is_global_zero:
            self._write_step(trainer, module, rows[-1])
        self._write_last(trainer)

    def _write_step(self, trainer: pl.Trainer, module: NucleiModule, row: dict[str, float]) -> None:
        """Write the weights, and update `index.csv`; delete the step checkpoints that the plan does not keep."""
        path = self.run_dir / CHECKPOINTS / f"step_{module.metadata.step:06d}.ckpt"
        write(path, _evaluated_weights(trainer, module), module.metadata)
        entry = {key: value for key, value in as_text(row).items() if key in INDEX_COLUMNS}
        entry["path"] = path.relative_to(self.run_dir).as_posix()
        entry["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [*read_index(self.run_dir), entry]
        kept = self.plan.kept(rows)
        columns = list(dict.fromkeys([*INDEX_COLUMNS, *rows[0]]))  # also columns added by other callbacks
        write_rows(self.run_dir / INDEX, columns, kept)
        for dropped in rows:
            if dropped not in kept:
                (self.run_dir / dropped["path"]).unlink(missing_ok=True)

    def _write_last(self, trainer: pl.Trainer) -> None:
        """Write the state to resume from (`resume.StateFiles`); every rank takes part, only the first one writes."""
        trainer.save_checkpoint(self.run_dir / LAST, weights_only=False)

    def _report(self, trainer: pl.Trainer, step: int, result: ValidationResult) -> None:
        """Print the scores, and send the pictures to the loggers."""
        if not trainer.is_global_zero:
            return
        shown = [f"{key} {result.columns[key]:.4f}" for key in INDEX_COLUMNS if key in result.columns]
        images, took = counted(result.images, "validation image"), duration(result.columns["val/time"])
        echo(f"step {step}  {'  '.join(shown)}  ({images} in {took})")
        threshold = result.score_threshold or COUNT_THRESHOLD
        for sample, prediction in result.pictures:
            self.metrics.draw(trainer, sample.name, draw_instances(sample.image, prediction, threshold), step)


def _evaluated_weights(trainer: pl.Trainer, module: NucleiModule) -> dict[str, Any]:
    """Return the weights that a validation measures: the averaged ones where a callback averages them (EMA, SWA)."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging) and callback._average_model is not None:
            averaged = callback._average_model.module
            assert isinstance(averaged, NucleiModule)
            return averaged.network.state_dict()
    return module.network.state_dict()
