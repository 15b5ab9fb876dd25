"""What a sweep cannot take of Hydra's command line, refused in a sentence instead of dropped."""

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nucleiseg.cli.hydra_files import typed_overrides
from nucleiseg.errors import InputError
from nucleiseg.invocation import invocation

SEARCHPATH = "hydra.searchpath"
"""More folders of configuration: the one key of Hydra's that the jobs get too."""

OF_THE_SWEEP = ("hydra/launcher", "hydra.launcher.", "hydra/sweeper", "hydra.sweeper.", "hydra.mode", "hydra.sweep.dir")
"""Keys of Hydra's that are the sweep's own."""


def passed_on(config: DictConfig) -> tuple[str, ...]:
    """Return the overrides of Hydra's own keys that each job gets too.

    Args:
        config: the sweep's configuration, Hydra's part included.

    Raises:
        InputError: for what would silently not reach the jobs, or end the sweep before all have run.
    """
    hydra = config.hydra
    given = [str(override) for override in hydra.overrides.hydra]
    search_paths = tuple(override for override in given if _key(override) == SEARCHPATH)
    problems = [
        f"{override} with -m does not reach the jobs: leave it out. Of Hydra's own keys they get {SEARCHPATH}."
        for override in given
        if override not in search_paths and not _key(override).startswith(OF_THE_SWEEP)
    ]
    for source in hydra.runtime.config_sources:
        if source.provider == "command-line":
            problems.append(
                f"--config-dir={source.path} with -m does not reach the jobs: "
                f"give '{SEARCHPATH}=[file://{source.path}]' instead."
            )
    if hydra.job.config_name != "train":
        problems.append(f"--config-name={hydra.job.config_name} with -m does not reach the jobs: give experiment=NAME.")
    if hydra.sweeper.get("max_batch_size") is not None:
        problems.append(
            "hydra.sweeper.max_batch_size would end the sweep with the first batch in which a job fails: leave it out. "
            "The launcher sets how many jobs run at a time (see conf/hydra/launcher)."
        )
    if problems:
        raise InputError(problems)
    return search_paths


def refuse_sweep_keys_alone() -> None:
    """Refuse the keys of a sweep in a single run, which would train somewhere else.

    Raises:
        InputError: naming what -m is missing for.
    """
    hydra = HydraConfig.get()
    given = [override for override in typed_overrides(hydra) if _key(override).startswith("sweep.")]
    if given and hydra.mode != RunMode.MULTIRUN:
        raise InputError(
            f"{given[0]} is a sweep's: add -m ({invocation('train')} -m ...), or leave it out for a single run."
        )


def refuse_ddp_in_sweep(trainer: Mapping[str, Any]) -> None:
    """Refuse several processes a run inside a process of a sweep: they would start the whole sweep again.

    Args:
        trainer: the keys of `trainer`, not checked yet.

    Raises:
        InputError: naming the launchers that can.
    """
    devices, strategy = trainer.get("devices", 1), str(trainer.get("strategy"))
    several = devices != 1 or trainer.get("num_nodes", 1) != 1 or strategy.startswith("ddp")
    if several and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(
            f"trainer.devices={devices} trainer.strategy={strategy} with -m: "
            f"{HydraConfig.get().launcher._target_.rpartition('.')[2]} runs the jobs inside a process of the sweep, "
            "and the processes of such a run would each start the whole sweep again. Leave hydra/launcher= out, or "
            "choose one of conf/hydra/launcher: they start a process a job."
        )


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
