"""Hydra's door to `nucleiseg.doors.sweep`: a launcher that starts one process a job.

Hydra finds launchers in the namespace package `hydra_plugins` alone, hence the folder.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from nucleiseg.doors.sweep import Job, exit_code, job_name, print_table, run_jobs, varying_keys

ConfigStore.instance().store(
    group="hydra/launcher",
    name="processes",
    node={"_target_": "hydra_plugins.nucleiseg_launcher.ProcessLauncher"},
    provider="nucleiseg",
)


class ProcessLauncher(Launcher):
    """Runs the jobs of a multirun one after the other, each as `python train.py ...` in a process of its own."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra hands to a launcher; the task function is not called in this process."""
        self._context = hydra_context
        self._config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs, print the table of their outcomes, and exit: 1 if one failed, 130 after Ctrl-C."""
        start = time.monotonic()
        jobs = [self._job(initial_job_idx + i, overrides, job_overrides) for i, overrides in enumerate(job_overrides)]
        outcomes = run_jobs(jobs, Path(sys.argv[0]).resolve(), resume=self._config.sweep.resume)
        print_table(outcomes, time.monotonic() - start)
        if code := exit_code(outcomes):
            sys.exit(code)
        return [JobReturn(overrides=list(job.overrides), status=JobStatus.COMPLETED) for job in jobs]

    def _job(self, index: int, overrides: Sequence[str], batch: Sequence[Sequence[str]]) -> Job:
        config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
        name = job_name(index, config.model.name, overrides, varying_keys(batch))
        own = tuple(override for override in overrides if not override.startswith(("hydra.", "sweep.")))
        return Job(index, own, Path(config.hydra.sweep.dir).resolve() / name)
