"""Run the jobs of a multirun, one process each, in numbered folders named by what varies.

A separate process releases the job's memory, and a job that fails or is killed does not affect the others.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from nucleiseg.cli.command_line import SWEPT_GROUPS
from nucleiseg.cli.entry import ExitCode
from nucleiseg.cli.overrides import quoted
from nucleiseg.errors import InputError
from nucleiseg.progress import duration, echo
from nucleiseg.run_folder import holds_run, known_status
from nucleiseg.sweeps.process_group import run_process
from nucleiseg.training.run_lock import active_process, refuse_running

SHORT_NAMES = {"aug.saturation": "sat"}
"""Key -> its name in folders, where that is not the key's last part."""

OVERRIDES = Path(".hydra") / "overrides.yaml"
"""Hydra's file with the command line of a job."""

STARTS_ITS_OWN = {"SLURM_JOB_NAME": "interactive"}
"""Makes Lightning start the processes of a run itself instead of relying on `srun`, also inside a SLURM job."""

LONGEST_NAME = 100
"""Characters of a job folder's name: file systems accept 255, Windows 260 for the whole path."""


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep.

    Attributes:
        index: its number, counted from 0.
        overrides: its command line.
        folder: its run folder.
        passed_on: overrides of Hydra's own keys for its process.
        swept_groups: keys of `hydra.sweeper.params` of the experiment: a group among them was not chosen on the command
            line, so that the experiment's section of it is kept.
    """

    index: int
    overrides: tuple[str, ...]
    folder: Path
    passed_on: tuple[str, ...] = ()
    swept_groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobOutcome:
    """The outcome of a job.

    Attributes:
        job: the job.
        state: `skipped` if an earlier sweep completed it; `interrupted` by Ctrl-C or SIGTERM, and `not started` after
            that; `running` if it continues without this process.
        reason: of a failure, else empty.
    """

    job: SweepJob
    state: Literal["done", "failed", "skipped", "interrupted", "not started", "running"]
    reason: str = ""


def job_name(index: int, model: str, overrides: Sequence[str], varying: Sequence[str]) -> str:
    """Name a job's folder: number, model, then the value of every other key that the sweep varies.

    The name contains neither `=`, which Hydra's command line would need quoted, nor brackets, which globs interpret. It
    has at most `LONGEST_NAME` characters; the number keeps names unique.

        job_name(3, "r50_c4", ["model=r50_c4", "aug.saturation=[0.5,2]"], ["model", "aug.saturation"])
        -> "003_r50_c4_sat-0.5-2"

    Args:
        index: the job's number.
        model: the name of its model.
        overrides: its command line, `key=value` each.
        varying: the keys that differ between the jobs of the sweep.
    """
    parts = [f"{index:03d}", model]
    for override in overrides:
        key, _, value = override.partition("=")
        if key in varying and key != "model":
            label = SHORT_NAMES.get(key, key.rsplit(".", 1)[-1])
            parts.append(f"{label}-" + re.sub(r"[^A-Za-z0-9.+]+", "-", value).strip("-"))
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", "_".join(parts))[:LONGEST_NAME].rstrip("-")


def varying_keys(batch: Sequence[Sequence[str]]) -> list[str]:
    """Return the keys whose values differ between the jobs of a batch."""
    values: dict[str, set[str]] = {}
    for overrides in batch:
        for override in overrides:
            key, _, value = override.partition("=")
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def run_jobs(jobs: Sequence[SweepJob], script: Path, *, resume: bool) -> list[JobOutcome]:
    """Run the jobs one after the other, each in a separate process.

    Args:
        jobs: the jobs.
        script: the script to start for each.
        resume: complete an earlier sweep in the same folder: skip finished jobs, resume stopped ones from their last
            checkpoint, start missing ones.

    Returns:
        The outcome of each job, in order, including jobs that were not started.

    Raises:
        InputError: if a job's folder exists and `resume` is not set, the job was begun with other overrides, or another
            process trains in the folder.
    """
    check_folders(jobs, resume=resume)
    varying = varying_keys([job.overrides for job in jobs])
    outcomes: list[JobOutcome] = []
    for number, job in enumerate(jobs, 1):
        if outcomes and outcomes[-1].state in ("interrupted", "not started"):
            outcomes.append(JobOutcome(job, "not started"))
            continue
        shown = [override for override in job.overrides if override.partition("=")[0] in varying]
        echo(f"Job {number} of {len(jobs)} ({job.folder.name}): {' '.join(shown)}".removesuffix(": "))
        outcomes.append(run_job(job, script))
    return outcomes


def check_folders(jobs: Sequence[SweepJob], *, resume: bool) -> None:
    """Raise the `InputError`s of `run_jobs`."""
    taken = [job.folder.name for job in jobs if job.folder.exists()]
    if taken and not resume:
        raise InputError(
            f"{jobs[0].folder.parent} holds {', '.join(taken)} already: "
            "sweep.resume=true completes that sweep, another sweep.dir starts a new one."
        )
    refuse_running(job.folder for job in jobs)
    _refuse_other_overrides(jobs)


def is_done(job: SweepJob) -> bool:
    """Return whether the job has been completed."""
    return known_status(job.folder).get("state") == "done"


def _refuse_other_overrides(jobs: Sequence[SweepJob]) -> None:
    """Refuse to complete a sweep whose jobs were begun with other overrides."""
    problems = []
    for job in jobs:
        file = job.folder / OVERRIDES
        if holds_run(job.folder) and file.exists():
            # unresolved: ${...} refers to the whole configuration, which is not loaded here
            typed = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            begun = {str(override) for override in typed or ()}
            if changed := sorted(begun ^ set(job.overrides)):
                problems.append(
                    f"{job.folder} was begun with {' '.join(sorted(begun)) or 'no overrides'}; this sweep differs in "
                    f"{', '.join(changed)}: repeat the first command, or give another sweep.dir."
                )
    if problems:
        raise InputError(problems)


def run_job(
    job: SweepJob, script: Path, folder: Path | None = None, is_to_stop: Callable[[], bool] = bool
) -> JobOutcome:
    """Start a job, resume it from its last checkpoint, or skip it if it is done; in a separate process.

    Args:
        job: the job.
        script: the script to start.
        folder: the process's working directory; None: that of this process.
        is_to_stop: polled; true stops the job.
    """
    before = known_status(job.folder)
    if is_done(job):
        return JobOutcome(job, "skipped")
    if is_to_stop():
        return JobOutcome(job, "not started")
    if who := active_process(job.folder):
        return JobOutcome(job, "failed", f"another process is running it: {who}")
    own = [*job.overrides, *job.passed_on, f"hydra.run.dir={quoted(job.folder)}"]
    trust = [override for override in own if override.startswith("trust=")]
    arguments = [f"resume={job.folder}", *trust] if holds_run(job.folder) else own
    environment = {**os.environ, **STARTS_ITS_OWN, SWEPT_GROUPS: ",".join(job.swept_groups)}
    code, stopped = run_process([sys.executable, str(script), *arguments], environment, folder, is_to_stop)
    if code == 0:
        return JobOutcome(job, "done")
    status = known_status(job.folder)
    # an unchanged status was written by an earlier attempt
    reason = str(status.get("reason") or "") if status != before else ""
    if stopped:
        return JobOutcome(job, "interrupted", reason)
    ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return JobOutcome(job, "failed", f"{ending}: {reason}" if reason else ending)


def exit_code(outcomes: Sequence[JobOutcome]) -> ExitCode:
    """Return the exit code of a sweep."""
    states = {outcome.state for outcome in outcomes}
    if states & {"interrupted", "not started"}:
        return ExitCode.INTERRUPTED
    return ExitCode.SOME_FAILED if states & {"failed", "running"} else ExitCode.DONE


def print_table(outcomes: Sequence[JobOutcome], seconds: float) -> None:
    """Print a table of the outcomes, with the reasons of failures."""
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    table = Table(title=f"{len(outcomes)} jobs in {duration(seconds)}, {failed} failed", title_justify="left")
    for column in ("job", "state", "reason"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.job.folder.name, outcome.state, outcome.reason)
    Console(stderr=True).print(table)
