"""Notice that a run's folder was deleted or moved while the run writes to it."""

from pathlib import Path

import pytorch_lightning as pl

from nucleiseg.errors import InputError
from nucleiseg.invocation import invocation
from nucleiseg.run_folder import METRICS
from nucleiseg.training.callbacks.step import StepCallback


class FolderLostError(InputError):
    """The run's folder has been deleted or moved: nothing more can be recorded in it."""


class FolderWatch(StepCallback):
    """Stop a run whose folder has been deleted or moved, instead of making a second folder of that name.

    Acts before the callbacks that write. Compares no inode numbers: on some network and cloud file systems a folder's
    number changes.

    Args:
        run_dir: the run's folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._has_metrics = False

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Check that the folder exists, and `metrics.csv` once it has been written.

        Raises:
            FolderLostError: if they are missing; on the first rank, the only one that writes.
        """
        if not trainer.is_global_zero:
            return
        has_metrics = (self.run_dir / METRICS).exists()
        if not self.run_dir.is_dir() or (self._has_metrics and not has_metrics):
            raise FolderLostError(
                f"The run's folder {self.run_dir} was deleted or moved while the run was writing to it (noticed after "
                f"step {step}), so training stopped. If it was moved, {invocation('train')} "
                "resume=ITS_NEW_PLACE continues from its last checkpoint; if it was deleted, start the run again."
            )
        self._has_metrics = has_metrics
