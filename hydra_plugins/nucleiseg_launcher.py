"""Hydra launchers that start one process per job (`nucleiseg.sweeps.sweep`).

Hydra discovers launchers only in the namespace package `hydra_plugins`.
"""

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from hydra.utils import get_class
from omegaconf import DictConfig, open_dict

from nucleiseg.cli.command_line import forced, without_force
from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode
from nucleiseg.cli.groups import group_names
from nucleiseg.cli.hydra_files import typed_overrides
from nucleiseg.cli.overrides import override, quoted
from nucleiseg.errors import InputError
from nucleiseg.progress import echo
from nucleiseg.settings import Problems
from nucleiseg.sweeps.job import JobProcess, first_line, outcomes_of, stopped_by_signals
from nucleiseg.sweeps.keys import passed_on
from nucleiseg.sweeps.sweep import (
    JobOutcome,
    SweepJob,
    check_folders,
    exit_code,
    is_done,
    job_name,
    print_table,
    run_jobs,
    varying_keys,
)

ConfigStore.instance().store(
    group="hydra/launcher",
    name="processes",
    node={"_target_": "hydra_plugins.nucleiseg_launcher.ProcessLauncher"},
    provider="nucleiseg",
)


class ProcessLauncher(Launcher):
    """Run the jobs of a multirun one after the other, each as a process `python train.py ...`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the context; the task function is not called in this process.

        Raises:
            InputError: for keys of Hydra that do not reach the jobs.
        """
        self._passed_on = passed_on(config)
        self._context = hydra_context
        self._config = config
        self._script = Path(sys.argv[0]).resolve()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, print the table of their outcomes, and exit: 1 if one failed, 130 after Ctrl-C."""
        start = time.monotonic()
        batch = [list(map(without_force, overrides)) for overrides in job_overrides]
        problems = Problems()
        taken = [problems.taking(partial(self._job, batch, i, initial_job_idx)) for i in range(len(batch))]
        if problems.found:
            raise InputError(list(dict.fromkeys(problems.found)))
        jobs = [job for job in taken if job]
        outcomes = self._run(jobs, resume=self._config.sweep.resume)
        print_table(outcomes, time.monotonic() - start)
        if code := exit_code(outcomes):
            if code == ExitCode.INTERRUPTED:
                self._print_resume_command(jobs[0].folder.parent)
            sys.exit(code)
        return [JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED) for job in jobs]

    def _print_resume_command(self, folder: Path) -> None:
        echo(f"To complete the sweep: the same command with {override('sweep.dir', folder)} sweep.resume=true.")

    def _run(self, jobs: list[SweepJob], *, resume: bool) -> list[JobOutcome]:
        return run_jobs(jobs, self._script, resume=resume)

    def _job(self, batch: Sequence[Sequence[str]], number: int, first: int) -> SweepJob:
        """Compose the configuration of a job for its name and folder.

        Args:
            batch: the overrides of each job, as they were typed.
            number: which of them.
            first: the number of the first job of the batch.

        Raises:
            InputError: with a sentence for every key or value that is refused.
        """
        from nucleiseg.cli.train import check  # slow to import, and Hydra imports this file for every command

        typed = batch[number]
        config = self._context.config_loader.load_sweep_config(self._config, forced(typed, group_names()))
        folder = Path(config.hydra.sweep.dir).resolve()
        given = {override.partition("=")[0] for override in typed_overrides(self._config.hydra)}
        with open_dict(config):
            del config["hydra"]
        check(to_container(config))
        name = job_name(first + number, config.model.name, typed, varying_keys(batch))
        own = tuple(override for override in typed if not override.startswith(("hydra.", "hydra/", "sweep.")))
        swept = tuple(key for override in own if (key := override.partition("=")[0]) not in given)
        return SweepJob(first + number, own, folder / name, self._passed_on, swept)


class ThroughLauncher(ProcessLauncher):
    """Submit the jobs of a multirun to another launcher, whose workers start the same processes.

    Args:
        through: the other launcher's class.
        extra: the extra that installs it: `pip install 'nucleiseg[EXTRA]'`.
        survives: whether its jobs continue when the waiting sweep is stopped.
        settings: the keys of the other launcher.
    """

    def __init__(self, through: str, extra: str, *, survives: bool = False, **settings: object) -> None:
        self._through = through
        self._extra = extra
        self._survives = survives
        self._settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Instantiate the other launcher.

        Raises:
            InputError: if it is not installed.
        """
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        if self._extra == "ray":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # opt in to usage statistics, instead of opting out
        try:
            self._other: Launcher = get_class(self._through)(**self._settings)
        except ImportError as error:
            raise InputError(
                f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']} needs a package that is not "
                f"installed ({error.__cause__ or error}): pip install 'nucleiseg[{self._extra}]'."
            ) from error

    def _run(self, jobs: list[SweepJob], *, resume: bool) -> list[JobOutcome]:
        """Submit the jobs that are not done; Hydra's files are written by the process of each job."""
        check_folders(jobs, resume=resume)
        outcomes = {job.index: JobOutcome(job, "skipped") for job in jobs if is_done(job)}
        left = tuple(job for job in jobs if job.index not in outcomes)
        if left:
            outcomes |= {outcome.job.index: outcome for outcome in self._submit(left)}
        return [outcomes[job.index] for job in jobs]

    def _submit(self, jobs: tuple[SweepJob, ...]) -> list[JobOutcome]:
        """Run jobs with the other launcher, and collect their outcomes even if workers are lost or a signal comes."""
        task = JobProcess(jobs, jobs[0].index, self._script, Path.cwd())
        self._other.setup(hydra_context=self._context, task_function=task, config=self._config)
        batch = [[*forced(job.overrides, group_names()), *_folder_overrides(job)] for job in jobs]
        returns: Sequence[JobReturn | None] = [None] * len(jobs)
        lost = ""
        with stopped_by_signals(jobs[0].folder.parent, survives=self._survives) as signals:
            try:
                returns = self._other.launch(batch, initial_job_idx=jobs[0].index)
            except (Exception, KeyboardInterrupt) as error:  # launchers raise various classes for a dead worker
                lost = f"its worker was lost ({first_line(error)})"
        return outcomes_of(jobs, returns, lost, stopped=bool(signals))

    def _print_resume_command(self, folder: Path) -> None:
        if self._survives:
            echo("Jobs in the queue continue without this process; wait for them or cancel them first.")
        super()._print_resume_command(folder)


def _folder_overrides(job: SweepJob) -> list[str]:
    return [f"hydra.sweep.dir={quoted(job.folder.parent)}", f"hydra.sweep.subdir={quoted(Path(job.folder.name))}"]
