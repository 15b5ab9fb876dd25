"""Step checkpoints with their row in `index.csv`, and `last.ckpt` to resume from, each whole or absent."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytorch_lightning as pl

from nucleiseg.inference.count_threshold import COUNT_THRESHOLD
from nucleiseg.models.checkpoint import save
from nucleiseg.progress import counted, duration, say
from nucleiseg.run_folder import CHECKPOINTS, INDEX, LAST
from nucleiseg.run_tables import INDEX_COLUMNS, read_index
from nucleiseg.training.callbacks.metrics_log import MetricsLog
from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.callbacks.validation import Validation, ValidationResult
from nucleiseg.training.divergence import diverged, first_clause, stop_if_weights_not_finite
from nucleiseg.training.module import NucleiModule
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.tables import as_text, write_rows
from nucleiseg.writers.overlay import draw_instances


class Checkpoints(StepCallback):
    """Validates, then writes, in an order that a kill at any moment cannot break.

    `last.ckpt` comes last: what it counts as done is on the disk, and whatever is newer is written again.

    Args:
        run_dir: the run's folder.
        plan: at which steps.
        metrics: flushed before anything is written, so that no checkpoint is made of a broken network.
        validation: what is asked for the `val/` columns.
    """

    def __init__(self, run_dir: Path, plan: CheckpointPlan, metrics: MetricsLog, validation: Validation) -> None:
        self.run_dir = run_dir
        self.plan = plan
        self.metrics = metrics
        self.validation = validation

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Write a checkpoint where the plan has one."""
        assert isinstance(module, NucleiModule)
        if not self.plan.is_checkpoint(step):
            return
        rows = self.metrics.fetch(trainer)
        with self.metrics.timing.paused():
            stop_if_weights_not_finite(module.network, step, rows[-1]["lr"], saved=self.metrics.has_checkpoints)
            module.metadata = replace(module.metadata, step=step)
            if self.plan.is_validated(step) and (result := self._validate(trainer, module, step, rows[-1]["lr"])):
                rows[-1].update(result.columns)
                module.metadata = replace(module.metadata, score_threshold=result.score_threshold)
                self._tell(trainer, step, result)
            self.metrics.write(rows, sync=True)  # `last.ckpt` must not outlive the rows that it counts as written
            if trainer.is_global_zero:
                self._write_step(module, rows[-1])
            self._write_last(trainer)

    def _validate(self, trainer: pl.Trainer, module: NucleiModule, step: int, lr: float) -> ValidationResult | None:
        try:
            return self.validation.run(trainer, module)
        except FloatingPointError as error:
            what = f"in validation, {first_clause(error)}"
            raise diverged(step, what, lr, saved=self.metrics.has_checkpoints) from error

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
        self.metrics.write(rows, sync=True)
        self._write_last(trainer)

    def _write_step(self, module: NucleiModule, row: dict[str, float]) -> None:
        path = self.run_dir / CHECKPOINTS / f"step_{module.metadata.step:06d}.ckpt"
        save(path, module.network, module.metadata)
        entry = {key: value for key, value in as_text(row).items() if key in INDEX_COLUMNS}
        entry["path"] = path.relative_to(self.run_dir).as_posix()
        entry["time"] = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [*read_index(self.run_dir), entry]
        kept = self.plan.kept(rows)
        columns = list(dict.fromkeys([*INDEX_COLUMNS, *rows[0]]))  # also those that somebody added
        write_rows(self.run_dir / INDEX, columns, kept)
        for dropped in rows:
            if dropped not in kept:
                (self.run_dir / dropped["path"]).unlink(missing_ok=True)

    def _write_last(self, trainer: pl.Trainer) -> None:
        """Write the state to resume from (`resume.StateFiles`); every rank takes part, only the first one writes."""
        trainer.save_checkpoint(self.run_dir / LAST, weights_only=False)

    def _tell(self, trainer: pl.Trainer, step: int, result: ValidationResult) -> None:
        """Print the result, and draw its pictures into TensorBoard."""
        if not trainer.is_global_zero:
            return
        shown = [f"{key} {result.columns[key]:.4f}" for key in INDEX_COLUMNS if key in result.columns]
        images, took = counted(result.images, "validation image"), duration(result.columns["val/time"])
        say(f"step {step}  {'  '.join(shown)}  ({images} in {took})")
        threshold = result.score_threshold or COUNT_THRESHOLD
        for sample, prediction in result.pictures:
            self.metrics.draw(sample.name, draw_instances(sample.image, prediction, threshold), step)
