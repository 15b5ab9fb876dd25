"""Studies: every folder of `experiments/` is an option of the configuration group `experiment`."""

from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

HYDRA_FILE = "experiment.yaml"
"""The Hydra file in a study's folder: overrides of the whole configuration, with a defaults list of its own."""


def register_studies(folder: Path) -> list[str]:
    """Make `experiment=NAME` find `folder/NAME/experiment.yaml`, from any working directory.

    Hydra's search path cannot map a group onto folders that also hold a README and results, its store can.

    Args:
        folder: the folder of the studies.

    Returns:
        The names of the studies. Hydra itself refuses any other name and lists these.
    """
    files = sorted(folder.glob(f"*/{HYDRA_FILE}"))
    for file in files:
        ConfigStore.instance().store(
            group="experiment",
            name=file.parent.name,
            node=OmegaConf.load(file),
            package="_global_",
            provider=str(file),
        )
    return [file.parent.name for file in files]
