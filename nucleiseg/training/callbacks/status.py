"""Record in `status.json` whether a run is running, its step, and why it ended."""

import os
import platform
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch

from nucleiseg.devices import device_name, peak_memory_mb
from nucleiseg.failures import explained
from nucleiseg.files import write_json
from nucleiseg.invocation import invocation
from nucleiseg.progress import echo
from nucleiseg.run_folder import STATUS, known_status
from nucleiseg.training.callbacks.step import StepCallback
from nucleiseg.training.callbacks.timing import Timing

State = Literal["running", "done", "failed", "interrupted"]

ENDED = ("failed", "interrupted")
"""States that come with a reason."""

INTERRUPTIONS = (KeyboardInterrupt, SystemExit)
"""What Ctrl-C raises, and what Lightning raises after SIGTERM."""


class Status(StepCallback):
    """Keep `status.json` up to date on the first rank; a failure is recorded by the rank that fails first.

    The other ranks fail after it because their connection is closed, which explains nothing.

    The state of a run that was killed stays `running`; on the computer `host`, no process `pid` is running then.

    Args:
        run_dir: the run's folder.
        of: steps of the whole run.
        every: steps between two updates.
        steps: steps already done.
        timing: the run's clock, which stops while the file is written.

    Attributes:
        machine: the device, and the peak of its memory in MB, over all the sessions of a run that was resumed;
            empty before the loop starts.
    """

    def __init__(self, run_dir: Path, of: int, every: int, steps: int = 0, timing: Timing | None = None) -> None:
        self.path = run_dir / STATUS
        self.of = of
        self.every = every
        self.steps = steps
        self.timing = timing or Timing()
        self.started = _now()
        self.machine: dict[str, object] = {}
        self._before = known_status(run_dir)
        self._earlier_peak = 0.0

    def write(self, state: State, reason: str = "") -> None:
        """Write the state, and for a run that ended before its last step the reason in sentences."""
        times = {"started": self.started, "updated": _now()}
        progress = {"state": state, "steps": self.steps, "of": self.of}
        process = {"pid": os.getpid(), "host": platform.node()}
        write_json(self.path, {**progress, **times, **self.machine, **process, "reason": reason})

    def record_failure(self, error: BaseException, *, terminated: bool = False) -> None:
        """Write how the run was stopped: by Ctrl-C or SIGTERM (`terminated`), or by an error."""
        if isinstance(error, INTERRUPTIONS) or terminated:
            self.write(
                "interrupted", f"Stopped after step {self.steps} of {self.of}: {resume_sentence(self.path.parent)}"
            )
        else:
            self.write("failed", " ".join(explained(error) or ()) or str(error) or type(error).__name__)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record that the run is running."""
        before, peak = self._before, self._before.get("peak_memory_mb")
        is_comparable = self.steps > 0 and before.get("device") == device_name(pl_module.device)
        self._earlier_peak = peak if is_comparable and isinstance(peak, float) else 0.0
        self._look_at_machine(pl_module.device)
        if trainer.is_global_zero and not self._has_ended:
            self.write("running")

    def on_step_end(self, trainer: pl.Trainer, module: pl.LightningModule, step: int) -> None:
        """Update the step, after every `every` steps."""
        self.steps = step
        if step % self.every:
            return
        with self.timing.paused():
            self._look_at_machine(module.device)
            if trainer.is_global_zero and not self._has_ended:
                self.write("running")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record that the run is done, also one that a callback has stopped early."""
        if not trainer.is_global_zero:
            return
        self._look_at_machine(pl_module.device)
        reason = ""
        if self.steps < self.of:
            stops = [callback for callback in trainer.early_stopping_callbacks if callback.stopping_reason_message]
            why = " ".join(str(callback.stopping_reason_message) for callback in stops)
            why = why.removesuffix(" Signaling Trainer to stop.") or "A callback stopped it."
            reason = f"Stopped early, after step {self.steps} of {self.of}. {why}"
            echo(reason)
        self.write("done", reason)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Record how the run was stopped, unless another rank has; the first rank alone records interruptions."""
        is_interrupted = isinstance(exception, INTERRUPTIONS) or trainer.received_sigterm
        if self._has_ended or (is_interrupted and not trainer.is_global_zero) or not self.path.parent.is_dir():
            return
        with suppress(OSError):  # a full disk must not hide the exception
            self.record_failure(exception, terminated=trainer.received_sigterm)

    @property
    def _has_ended(self) -> bool:
        """Whether any rank has already recorded the end of this run since it was started or resumed."""
        now = known_status(self.path.parent)
        return now.get("state") in ENDED and now != self._before

    def _look_at_machine(self, device: torch.device) -> None:
        peak = peak_memory_mb(device)
        self.machine = {
            "device": device_name(device),
            "peak_memory_mb": None if peak is None else max(peak, self._earlier_peak),
        }


def resume_sentence(run_dir: Path) -> str:
    """Return the command that resumes a run, in a sentence."""
    return f"{invocation('train')} {shlex.quote(f'resume={run_dir}')} continues it."


def _now() -> str:
    """Return the time in UTC, as ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
