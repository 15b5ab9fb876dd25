"""Write the states of a run (`last.ckpt`, `previous.ckpt`), and resume from the newest one that is whole."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from pytorch_lightning.plugins import TorchCheckpointIO

from nucleiseg.errors import InputError, some
from nucleiseg.models import checkpoint
from nucleiseg.models.weights.torch_files import read_torch, write_torch
from nucleiseg.progress import echo
from nucleiseg.run_folder import CHECKPOINTS, INDEX, LAST, METRICS, PREVIOUS, require_inside
from nucleiseg.run_tables import STEP_CHECKPOINT, Row, read_index, read_metrics
from nucleiseg.training.tables import write_rows

LEFTOVER = re.compile(r"\.(config|splits|status|tracked|index|metrics|last|step_\d+)\.[0-9a-f]{8}\.part\.\w+")
"""Temporary names of `files.atomic_path` for the files of a run, which a kill leaves behind."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a run stands.

    Attributes:
        step: optimizer steps done.
        batches: batches taken on each rank (`step` times `trainer.accumulate`).
        file: the state; None at step 0, where there is none.
        fingerprint: of the training data.
        stopped_early: a callback ended the run at this step.
        skipped: why a newer state cannot be used, in sentences; empty if the newest one is used.
    """

    step: int = 0
    batches: int = 0
    file: Path | None = None
    fingerprint: str = ""
    stopped_early: bool = False
    skipped: str = ""


class StateFiles(TorchCheckpointIO):
    """Write states atomically, keep the one before, and read them without running code from them.

    Lightning's own writes through the system's temporary folder, where a kill leaves a whole copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write a state with its SHA-256; a `last.ckpt` that it replaces becomes `previous.ckpt`."""
        keep = Path(path).with_name(PREVIOUS.name) if Path(path).name == LAST.name else None
        write_torch(path, checkpoint, keep=keep)

    def load_checkpoint(
        self,
        path: Any,  # noqa: ANN401
        map_location: Any = None,  # noqa: ANN401
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a state on the CPU."""
        return read_torch(path, what="a state to resume from")


def resume_point(run_dir: Path) -> ResumePoint:
    """Return where the run in `run_dir` stands: at its newest whole state, or at step 0 if it has saved none.

    Raises:
        InputError: if states were saved and none can be used; it names what can.
    """
    require_inside(run_dir, CHECKPOINTS)
    problems: list[str] = []
    for path in (run_dir / LAST, run_dir / PREVIOUS):
        if not path.exists() and not path.is_symlink():
            continue
        try:
            point = _read_state(require_inside(run_dir, path.relative_to(run_dir)))
        except InputError as error:
            problems += error.problems
        else:
            return replace(point, file=path, skipped=" ".join(problems))
    rows = [] if problems else read_index(run_dir)
    if problems or len(rows) > 1:  # one row: killed between the first step checkpoint and the first state
        missing = [f"{run_dir / name} is missing." for name in (LAST, PREVIOUS) if not (run_dir / name).exists()]
        raise InputError(
            [*problems, *missing, f"The run cannot be resumed: no state is whole. {_what_is_left(run_dir)}"]
        )
    return ResumePoint()


def rows_until(run_dir: Path, step: int) -> tuple[list[Row], list[Row]]:
    """Return the rows of `metrics.csv` and of `index.csv` up to a step.

    Raises:
        InputError: if a table is damaged, or `index.csv` lacks the newest of its step checkpoints.
    """
    if step == 0:
        return [], []
    index = [row for row in read_index(run_dir) if int(row["step"]) <= step]
    last = int(index[-1]["step"]) if index else 0
    found = [int(path.stem.removeprefix("step_")) for path in step_checkpoints(run_dir)]
    if lost := [number for number in found if last < number <= step]:  # they would be deleted
        raise InputError(
            f"{run_dir / INDEX} ends at step {last}, but there are checkpoints of step {some(lost)}: its last rows "
            f"were removed. Restore the file, or move those checkpoints out of {run_dir / CHECKPOINTS} to keep them."
        )
    return read_metrics(run_dir, until=step), index


def truncate_to(run_dir: Path, point: ResumePoint) -> None:
    """Bring a run's folder back to where it was at `point`; everything after it will be written again.

    Rows of later steps are cut from `metrics.csv` and `index.csv`; step checkpoints that the index does not list, and
    files that a kill left half-written, are deleted. A damaged `last.ckpt` is replaced by its predecessor.

    Raises:
        InputError: if a table is damaged, before anything is changed.
    """
    metrics, index = rows_until(run_dir, point.step)
    if point.skipped:
        echo(f"{point.skipped} The run resumes from {PREVIOUS}, step {point.step}: what followed is computed again.")
    if point.file is not None and point.file.name == PREVIOUS.name:
        last = run_dir / LAST
        if last.is_dir() and not last.is_symlink():
            last.rename(last.with_name(f"damaged_{uuid4().hex[:8]}"))
        point.file.replace(last)
    if point.step > len(metrics):
        echo(
            f"Warning: {run_dir / METRICS} lacks {point.step - len(metrics)} of {point.step} steps; curves have a gap."
        )
    for name, rows in ((METRICS, metrics), (INDEX, index)):
        if rows:
            write_rows(run_dir / name, list(rows[0]), rows)
        else:
            (run_dir / name).unlink(missing_ok=True)
    kept = {row["path"] for row in index}
    for path in step_checkpoints(run_dir):
        if path.relative_to(run_dir).as_posix() not in kept:
            path.unlink()
    for folder in (run_dir, run_dir / CHECKPOINTS):
        for path in folder.glob(".*.part.*"):
            if LEFTOVER.fullmatch(path.name) and not path.is_dir():
                path.unlink()


def step_checkpoints(run_dir: Path) -> list[Path]:
    """Return the step checkpoints in a run's folder, listed or not, in ascending steps."""
    found = {}
    for path in (run_dir / CHECKPOINTS).glob("step_*.ckpt"):
        name = STEP_CHECKPOINT.fullmatch(f"{CHECKPOINTS}/{path.name}")
        if name and (path.is_file() or path.is_symlink()):
            found[int(name[1])] = path
    return [found[step] for step in sorted(found)]


def _read_state(path: Path) -> ResumePoint:
    """Return where a state stands, if it can be resumed from."""
    content = read_torch(path, what="a state to resume from", mmap=True)
    try:
        step, progress = content["global_step"], content["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        batches = progress["total"]["processed"]
        parts = (content["optimizer_states"], content["lr_schedulers"], content["state_dict"])
        has_keys = {"score_threshold", "weights"} <= set(content[checkpoint.KEY])
        is_whole = all(parts) and has_keys and type(step) is type(batches) is int
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is not a state to resume from ({error} is missing).") from error
    if not is_whole or not 0 < step <= batches:
        raise InputError(f"{path} is not a state to resume from (step {step}, batches {batches}): restore it.")
    metadata = checkpoint.of_content(path, content)[1]
    return ResumePoint(step, batches, path, metadata.fingerprint, content.get("stopped_early") is True)


def _what_is_left(run_dir: Path) -> str:
    """Return what a run without a whole state can still be used for, in a sentence."""
    whole: list[Path] = []
    for path in step_checkpoints(run_dir):
        try:
            checkpoint.read(path)
        except InputError:
            continue
        whole.append(path)
    if not whole:
        return "No step checkpoint is whole either: start a new run in another folder."
    names = some(path.relative_to(run_dir).as_posix() for path in reversed(whole))
    return (
        f"Whole are the weights of {names}: they predict as they are ({whole[-1]}), and a new run can "
        "start from them as its weights."
    )
