"""A sweep's jobs under Hydra's other launchers (joblib, submitit, Ray): their workers start our processes.

What such a launcher calls for each job, in a worker of its own, is a `JobProcess`. Memory returns as with our own
launcher, a killed job does not take the launcher's pool along, and several devices work: Lightning starts the
processes of a run by repeating the command line, which in a worker would be the sweep's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nucleiseg.doors.sweep import Job, Outcome, run_job
from nucleiseg.errors import InputError


@dataclass(frozen=True)
class JobProcess:
    """The task function of a sweep: runs the job whose number Hydra has set. It can be pickled.

    Attributes:
        jobs: the jobs that the launcher was given, in its order.
        first: the number of the first of them.
        script: the door to start.
        folder: where the sweep was started; relative paths begin there.
    """

    jobs: tuple[Job, ...]
    first: int
    script: Path
    folder: Path

    def __call__(self, config: DictConfig) -> Outcome:
        """Run the job in a process of its own; `config` is composed again there, from the job's overrides."""
        return run_job(self.jobs[HydraConfig.get().job.num - self.first], self.script, self.folder)


def refuse_ddp_in_sweep(trainer: Mapping[str, Any]) -> None:
    """Refuse several processes a run inside a process of a sweep: they would start the whole sweep again.

    Args:
        trainer: the keys of `trainer`.

    Raises:
        InputError: naming the launchers that can.
    """
    several = trainer["devices"] != 1 or trainer["num_nodes"] != 1 or str(trainer["strategy"]).startswith("ddp")
    if several and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(
            f"trainer.devices={trainer['devices']} trainer.strategy={trainer['strategy']} with -m: "
            f"{HydraConfig.get().launcher._target_.rpartition('.')[2]} runs the jobs inside a process of the sweep, "
            "and the processes of such a run would each start the whole sweep again. Leave hydra/launcher= out, or "
            "choose one of conf/hydra/launcher: they start a process a job."
        )
