"""The jobs of a multirun: one process each, in numbered folders that say what is in them.

A process of its own gives a job's memory back when it ends, and a job that fails or is killed takes nothing along.
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
"""Keys whose folder name is not their last part."""

OVERRIDES = Path(".hydra") / "overrides.yaml"
"""The command line of a job, which Hydra keeps in its folder."""

STARTS_ITS_OWN = {"SLURM_JOB_NAME": "interactive"}
"""Tells Lightning that it starts the processes of a run itself, also inside a job of SLURM, and not `srun`."""

LONGEST_NAME = 100
"""Characters of a job folder's name: file systems take 255, Windows 260 with everything above it."""


@dataclass(frozen=True)
class SweepJob:
    """One job of a sweep.

    Attributes:
        index: its number, counted from 0.
        overrides: its command line.
        folder: its run folder.
        passed_on: what of Hydra's own keys goes beside its command line to its process.
        swept_groups: keys of the overrides that the experiment's own `hydra.sweeper.params` give: a group among them
            was not chosen on the command line, so that the experiment's section of it stays.
    """

    index: int
    overrides: tuple[str, ...]
    folder: Path
    passed_on: tuple[str, ...] = ()
    swept_groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Attributes:
        job: the job.
        state: `done`, `failed`, `skipped` where an earlier sweep had done it; `interrupted` by Ctrl-C or SIGTERM, and
            `not started` after that; `running` where it continues without this process.
        reason: why it failed, else empty.
    """

    job: SweepJob
    state: Literal["done", "failed", "skipped", "interrupted", "not started", "running"]
    reason: str = ""


def job_name(index: int, model: str, overrides: Sequence[str], varying: Sequence[str]) -> str:
    """Name a job's folder: number, model, then the value of every other key that the sweep varies.

    Neither `=` nor brackets: the one breaks Hydra's command line, the others globbing.

        job_name(3, "r50_c4", ["model=r50_c4", "aug.saturation=[0.5,2]"], ["model", "aug.saturation"])
        -> "003_r50_c4_sat-0.5-2"

    At most `LONGEST_NAME` characters; the number keeps longer ones apart.

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
    """Return the keys whose value is not the same in every job of the batch."""
    values: dict[str, set[str]] = {}
    for overrides in batch:
        for override in overrides:
            key, _, value = override.partition("=")
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def run_jobs(jobs: Sequence[SweepJob], script: Path, *, resume: bool) -> list[JobOutcome]:
    """Run the jobs one after the other, each as a process of its own.

    Args:
        jobs: the jobs.
        script: the script to start for each.
        resume: complete what an earlier sweep in the same folder left: finished jobs are skipped, stopped ones
            resume from their last checkpoint, missing ones start.

    Returns:
        How each job ended, in order; those that Ctrl-C or SIGTERM kept from starting too.

    Raises:
        InputError: if a job's folder is taken already and `resume` is not set, was begun with other overrides, or
            another process is training in it.
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
    """Refuse to begin a sweep in another one's folder, or to complete one with other settings.

    Raises:
        InputError: as `run_jobs`.
    """
    taken = [job.folder.name for job in jobs if job.folder.exists()]
    if taken and not resume:
        raise InputError(
            f"{jobs[0].folder.parent} holds {', '.join(taken)} already: "
            "sweep.resume=true completes that sweep, another sweep.dir starts a new one."
        )
    refuse_running(job.folder for job in jobs)
    _refuse_other_overrides(jobs)


def is_done(job: SweepJob) -> bool:
    """Return whether an earlier sweep has finished the job."""
    return known_status(job.folder).get("state") == "done"


def _refuse_other_overrides(jobs: Sequence[SweepJob]) -> None:
    """Refuse to complete a sweep with jobs that were begun, or done, with other settings than they have now."""
    problems = []
    for job in jobs:
        file = job.folder / OVERRIDES
        if holds_run(job.folder) and file.exists():
            # As it was typed: ${...} stands for values of the whole configuration, which is not here.
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
    """Do what is left of a job in a process of its own: all of it, what follows its last checkpoint, or nothing.

    Args:
        job: the job.
        script: the script to start.
        folder: the process's working directory; None: this one's.
        is_to_stop: asked now and then whether the job is to be stopped.
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
    # A status that the process did not write is that of an earlier try.
    reason = str(status.get("reason") or "") if status != before else ""
    if stopped:
        return JobOutcome(job, "interrupted", reason)
    ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return JobOutcome(job, "failed", f"{ending}: {reason}" if reason else ending)


def exit_code(outcomes: Sequence[JobOutcome]) -> ExitCode:
    """Return what a sweep ends with."""
    states = {outcome.state for outcome in outcomes}
    if states & {"interrupted", "not started"}:
        return ExitCode.INTERRUPTED
    return ExitCode.SOME_FAILED if states & {"failed", "running"} else ExitCode.DONE


def print_table(outcomes: Sequence[JobOutcome], seconds: float) -> None:
    """Print what became of each job, with the reason where it failed."""
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    table = Table(title=f"{len(outcomes)} jobs in {duration(seconds)}, {failed} failed", title_justify="left")
    for column in ("job", "state", "reason"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.job.folder.name, outcome.state, outcome.reason)
    Console(stderr=True).print(table)
