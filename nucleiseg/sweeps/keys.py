"""Refuse keys of Hydra that a sweep would silently ignore."""

from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from nucleiseg.cli.hydra_files import typed_overrides
from nucleiseg.errors import InputError
from nucleiseg.invocation import invocation

SEARCHPATH = "hydra.searchpath"
"""Further configuration folders: Hydra's only key that is passed to the jobs."""

OF_THE_SWEEP = ("hydra/launcher", "hydra.launcher.", "hydra/sweeper", "hydra.sweeper.", "hydra.mode", "hydra.sweep.dir")
"""Hydra's keys that configure the sweep itself."""


def passed_on(config: DictConfig) -> tuple[str, ...]:
    """Return the overrides of Hydra's own keys that are passed to each job.

    Args:
        config: the sweep's configuration, including Hydra's.

    Raises:
        InputError: for keys that would not reach the jobs, or would end the sweep early.
    """
    hydra = config.hydra
    given = [str(override) for override in hydra.overrides.hydra]
    search_paths = tuple(override for override in given if _key(override) == SEARCHPATH)
    problems = [
        f"{override} with -m does not reach the jobs: leave it out. Only {SEARCHPATH} is passed to them."
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
    """Refuse `sweep.*` in a single run, which would ignore it.

    Raises:
        InputError: naming the key that needs -m.
    """
    hydra = HydraConfig.get()
    given = [override for override in typed_overrides(hydra) if _key(override).startswith("sweep.")]
    if given and hydra.mode != RunMode.MULTIRUN:
        raise InputError(
            f"{given[0]} needs a sweep: add -m ({invocation('train')} -m ...), or leave it out for a single run."
        )


def refuse_ddp_in_sweep(trainer: Mapping[str, Any]) -> None:
    """Refuse runs of several processes inside the sweep's process: each would start the whole sweep again.

    Args:
        trainer: the keys of `trainer`, not yet validated.

    Raises:
        InputError: naming the launchers that support them.
    """
    devices, strategy = trainer.get("devices", 1), str(trainer.get("strategy"))
    several = devices != 1 or trainer.get("num_nodes", 1) != 1 or strategy.startswith("ddp")
    if several and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise InputError(
            f"trainer.devices={devices} trainer.strategy={strategy} with -m: "
            f"{HydraConfig.get().launcher._target_.rpartition('.')[2]} runs the jobs inside the sweep's process, "
            "and each process of such a run would start the whole sweep again. Leave out hydra/launcher=, or choose "
            "one of conf/hydra/launcher, which start a process per job."
        )


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")
