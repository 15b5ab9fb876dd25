"""A sweep's jobs under Hydra's other launchers (joblib, submitit, Ray): their workers start our processes.

What such a launcher calls for each job, in a worker of its own, is a `JobProcess`. Memory returns as with our own
launcher, a killed job does not take the launcher's pool along, and several devices work: Lightning starts the
processes of a run by repeating the command line, which in a worker would be the sweep's.
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
"""The file of a sweep's folder that tells its jobs, on any computer, to stop."""


@dataclass(frozen=True)
class JobProcess:
    """The task function of a sweep: runs the job whose number Hydra has set. It can be pickled.

    Attributes:
        jobs: the jobs that the launcher was given, in its order.
        first: the number of the first of them.
        script: the script to start.
        folder: where the sweep was started; relative paths begin there.
    """

    jobs: tuple[SweepJob, ...]
    first: int
    script: Path
    folder: Path

    def __call__(self, config: DictConfig) -> JobOutcome:
        """Run the job in a process of its own; `config` is composed again there, from the job's overrides."""
        job = self.jobs[HydraConfig.get().job.num - self.first]
        return run_job(job, self.script, self.folder, (job.folder.parent / STOP).exists)


@contextmanager
def stopped_by_signals(sweep_dir: Path, *, survives: bool) -> Iterator[list[int]]:
    """Let Ctrl-C and SIGTERM stop the jobs that the body waits for; it still waits, for their outcomes.

    The second signal raises KeyboardInterrupt.

    Args:
        sweep_dir: the folder of the sweep.
        survives: the jobs are to continue; already the first signal raises KeyboardInterrupt.

    Yields:
        The signals that came.
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
        echo("Stopping the jobs; a second time, and they are not waited for.")

    try:
        with handled(handle):
            yield signals
    finally:
        if len(signals) < 2:  # jobs that are left alone still have to find it
            stop.unlink(missing_ok=True)


def outcomes_of(
    jobs: Sequence[SweepJob], returns: Sequence[JobReturn | None], lost: str, *, stopped: bool
) -> list[JobOutcome]:
    """Return how the jobs ended: as their workers say, else as their folders do.

    Args:
        jobs: the jobs that a launcher was given.
        returns: what it returned for each; None where it has lost it.
        lost: why it has, in a line.
        stopped: the sweep was asked to stop.
    """
    outcomes = []
    for job, result in zip(jobs, returns, strict=True):
        try:
            if result is not None:
                outcomes.append(result.return_value)  # raises what was raised in the worker
                continue
            reason = lost
        except Exception as error:  # of any package
            reason = first_line(error)
        outcomes.append(_as_its_folder_says(job, reason, stopped=stopped))
    return outcomes


def first_line(error: BaseException) -> str:
    """Return an error's class and the first line of what it says."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")


def _as_its_folder_says(job: SweepJob, reason: str, *, stopped: bool) -> JobOutcome:
    if is_done(job):
        return JobOutcome(job, "done")
    if who := active_process(job.folder):
        return JobOutcome(job, "running", who)
    if stopped:
        return JobOutcome(job, "interrupted" if job.folder.exists() else "not started")
    return JobOutcome(job, "failed", reason)
