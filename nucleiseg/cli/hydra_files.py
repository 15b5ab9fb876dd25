"""The overrides of this process as typed, and the files of a run's folder `.hydra`."""

from copy import deepcopy

from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, read_write

from nucleiseg.cli.command_line import without_force


def typed_overrides(hydra: DictConfig | HydraConf) -> list[str]:
    """Return the overrides of keys other than Hydra's as they were typed, with unresolved interpolations."""
    overrides = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    return [without_force(str(override)) for override in overrides]


def hydra_files(config: DictConfig) -> dict[str, str]:
    """Return the files of the folder `.hydra`: name -> text.

    The run writes them once it has locked its folder; Hydra would overwrite those of an earlier run before this one can
    be refused.
    """
    hydra = deepcopy(HydraConfig.get())
    overrides = typed_overrides(hydra)
    with read_write(hydra):  # type: ignore[arg-type]  # a DictConfig of this type
        hydra.overrides.task = overrides
    return {
        "config.yaml": OmegaConf.to_yaml(config),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.create({"hydra": hydra})),
        "overrides.yaml": OmegaConf.to_yaml(OmegaConf.create(overrides)),
    }
