"""The jobs of a multirun: one process each, in numbered folders that say what is in them.

A process of its own gives a job's memory back when it ends, and a job that fails or is killed takes nothing along.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nucleiseg.errors import InputError
from nucleiseg.progress import duration, say

SHORT_NAMES = {"aug.saturation": "sat"}
"""Keys whose folder name is not their last part."""


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Attributes:
        index: its number, counted from 0.
        overrides: its command line.
        folder: its run folder.
    """

    index: int
    overrides: tuple[str, ...]
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: the job.
        state: `done`, `failed`, or `skipped` where an earlier sweep had done it.
        reason: why it failed, else empty.
    """

    job: Job
    state: str
    reason: str = ""


def job_name(index: int, model: str, overrides: Sequence[str], varying: Sequence[str]) -> str:
    """Name a job's folder: number, model, then the value of every other key that the sweep varies.

    Neither `=` nor brackets: the one breaks Hydra's command line, the others globbing.

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
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", "_".join(parts))


def varying_keys(batch: Sequence[Sequence[str]]) -> list[str]:
    """Return the keys whose value is not the same in every job of the batch."""
    values: dict[str, set[str]] = {}
    for overrides in batch:
        for override in overrides:
            key, _, value = override.partition("=")
            values.setdefault(key, set()).add(value)
    return [key for key, found in values.items() if len(found) > 1]


def run_jobs(jobs: Sequence[Job], script: Path, *, resume: bool) -> list[Outcome]:
    """Run the jobs one after the other, each as a process of its own.

    Args:
        jobs: the jobs.
        script: the door to start for each.
        resume: complete what an earlier sweep in the same folder left: finished jobs are skipped, stopped ones
            go on from their last checkpoint, missing ones start.

    Returns:
        How each job ended, in order.

    Raises:
        InputError: if a job's folder is taken already and `resume` is not set.
    """
    taken = [job.folder.name for job in jobs if job.folder.exists()]
    if taken and not resume:
        raise InputError(
            f"{jobs[0].folder.parent} holds {', '.join(taken)} already: "
            "sweep.resume=true completes that sweep, another sweep.dir starts a new one."
        )
    outcomes = []
    for job in jobs:
        say(f"Job {job.index} of {len(jobs)} ({job.folder.name}): {' '.join(job.overrides)}")
        outcomes.append(_run_job(job, script))
    return outcomes


def quoted(path: Path) -> str:
    """Return a path as a quoted value of Hydra's command line, whose grammar gives `ü ( = [ , # &` other meanings.

    Backslashes are doubled where a quote follows, and only there, as Hydra reads them.
    """
    return "'" + re.sub(r"(\\+)(?='|$)", r"\1\1", str(path)).replace("'", "\\'") + "'"


def _run_job(job: Job, script: Path) -> Outcome:
    state = _status(job.folder).get("state")
    if state == "done":
        return Outcome(job, "skipped")
    can_resume = (job.folder / "config.yaml").exists()
    arguments = [f"resume={job.folder}"] if can_resume else [*job.overrides, f"hydra.run.dir={quoted(job.folder)}"]
    code = subprocess.run([sys.executable, str(script), *arguments], check=False).returncode
    if code == 0:
        return Outcome(job, "done")
    reason = str(_status(job.folder).get("reason") or "")
    ending = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return Outcome(job, "failed", f"{ending}: {reason}" if reason else ending)


def _status(folder: Path) -> dict[str, object]:
    try:
        status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}


def print_table(outcomes: Sequence[Outcome], seconds: float) -> None:
    """Print what became of each job, with the reason where it failed."""
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    table = Table(title=f"{len(outcomes)} jobs in {duration(seconds)}, {failed} failed", title_justify="left")
    for column in ("job", "state", "reason"):
        table.add_column(column, overflow="fold")
    for outcome in outcomes:
        table.add_row(outcome.job.folder.name, outcome.state, outcome.reason)
    Console(stderr=True).print(table)
