"""Going on with a stopped run: what `last.ckpt` knows, and a folder wound back to it."""

from dataclasses import dataclass
from pathlib import Path

from nucleiseg.errors import InputError
from nucleiseg.files import read_rows
from nucleiseg.models.torch_files import read_torch
from nucleiseg.training.run_files import INDEX, LAST, METRICS
from nucleiseg.training.tables import cut_rows


@dataclass(frozen=True)
class ResumePoint:
    """Where a run stands.

    Attributes:
        step: optimiser steps done.
        batches: batches taken on each rank (`step` times `trainer.accumulate`).
    """

    step: int = 0
    batches: int = 0


def resume_point(run_dir: Path) -> ResumePoint:
    """Return where the run in `run_dir` stands: at its `last.ckpt`, or at step 0 if nothing was saved yet.

    Raises:
        InputError: if `last.ckpt` cannot be read.
    """
    path = run_dir / LAST
    if not path.exists():
        return ResumePoint()
    try:
        checkpoint = read_torch(path, what="a checkpoint to resume from", mmap=True)
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        return ResumePoint(int(checkpoint["global_step"]), int(progress["total"]["processed"]))
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be resumed from ({error}): delete it to start the run from step 0 in the same folder, "
            "or start a new run."
        ) from error


def wind_back(run_dir: Path, step: int) -> None:
    """Bring a run's folder back to where it was when `step` steps were done.

    Rows of `metrics.csv` and `index.csv` after that step are cut, and step checkpoints that the index does not
    name (any more) are deleted: all of it will be written again. So are files that a kill left half written.
    """
    cut_rows(run_dir / METRICS, step)
    index = run_dir / INDEX
    cut_rows(index, step)
    kept = {row["path"] for row in read_rows(index)}
    for path in (run_dir / "checkpoints").glob("step_*.ckpt"):
        if path.relative_to(run_dir).as_posix() not in kept:
            path.unlink()
    for path in run_dir.glob("**/.*.part.*"):  # the temporary names of `files.atomic_path`
        path.unlink()
