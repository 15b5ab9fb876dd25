"""Run a sweep's jobs with other Hydra launchers (joblib, submitit, Ray), whose workers start a process per job.

The launcher calls a `JobProcess` for each job. A process per job releases its memory, leaves the launcher's pool intact
if it is killed, and supports several devices: Lightning starts further processes by repeating the command line, which
in a worker would be that of the sweep.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from omegaconf import DictConfig

from nucleiseg.progress import echo
from nucleiseg.sweeps.process_group import handled
from nucleiseg.sweeps.sweep import JobOutcome, SweepJob, is_done, run_job
from nucleiseg.training.run_lock import active_process

STOP = ".stop"
"""File in a sweep's folder that makes its jobs on any computer stop."""


@dataclass(frozen=True)
class JobProcess:
    """Picklable task function of a sweep, which runs the job whose number Hydra has set.

    Attributes:
        jobs: the jobs passed to the launcher, in its order.
        first: the number of the first job.
        script: the script to start.
        folder: working folder of the sweep, for relative paths.
    """

    jobs: tuple[SweepJob, ...]
    first: int
    script: Path
    folder: Path

    def __call__(self, config: DictConfig) -> JobOutcome:
        """Run the job in a separate process, which composes `config` again from the job's overrides."""
        job = self.jobs[HydraConfig.get().job.num - self.first]
        return run_job(job, self.script, self.folder, (job.folder.parent / STOP).exists)


@contextmanager
def stopped_by_signals(sweep_dir: Path, *, survives: bool) -> Iterator[list[int]]:
    """Stop the jobs that the body waits for on Ctrl-C or SIGTERM; a second signal raises KeyboardInterrupt.

    Args:
        sweep_dir: the folder of the sweep.
        survives: let the jobs continue; the first signal raises KeyboardInterrupt.

    Yields:
        The received signals.
    """
    stop = sweep_dir / STOP
    stop.unlink(missing_ok=True)
    signals: list[int] = []

    def handle(number: int, _: object) -> None:
        signals.append(number)
        if survives or len(signals) > 1:
            raise KeyboardInterrupt
        sweep_dir.mkdir(parents=True, exist_ok=True)
        stop.touch()
        echo("Stopping the jobs; press Ctrl-C again to leave without waiting for them.")

    try:
        with handled(handle):
            yield signals
    finally:
        if len(signals) < 2:  # after a second signal, jobs are still running and must find the file
            stop.unlink(missing_ok=True)


def outcomes_of(
    jobs: Sequence[SweepJob], returns: Sequence[JobReturn | None], lost: str, *, stopped: bool
) -> list[JobOutcome]:
    """Return the outcome of each job: from its worker if that returned, else from `status.json` of its folder.

    Args:
        jobs: the jobs passed to a launcher.
        returns: the launcher's result for each; None for a lost worker.
        lost: reason of the loss, in a line.
        stopped: whether the sweep received a signal to stop.
    """
    outcomes = []
    for job, result in zip(jobs, returns, strict=True):
        try:
            if result is not None:
                outcomes.append(result.return_value)  # raises the worker's error
                continue
            reason = lost
        except Exception as error:  # of any package
            reason = first_line(error)
        outcomes.append(_outcome_from_folder(job, reason, stopped=stopped))
    return outcomes


def first_line(error: BaseException) -> str:
    """Return an error's class and the first line of its message."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")


def _outcome_from_folder(job: SweepJob, reason: str, *, stopped: bool) -> JobOutcome:
    if is_done(job):
        return JobOutcome(job, "done")
    if who := active_process(job.folder):
        return JobOutcome(job, "running", who)
    if stopped:
        return JobOutcome(job, "interrupted" if job.folder.exists() else "not started")
    return JobOutcome(job, "failed", reason)
