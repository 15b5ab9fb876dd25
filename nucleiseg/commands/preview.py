"""Look at the data before training: `nucleiseg preview data=folders data.root=DIR aug=recipe output=preview`.

Writes a sheet of raw images, a sheet of augmented crops with their outlines, and the nuclei per image.
"""

from typing import NoReturn

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import exit_on_input_error, run_command
from nucleiseg.cli.preview import preview
from nucleiseg.cli.shipped import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="preview")
def main(config: DictConfig) -> None:
    """Draw the figures that the configuration asks for."""
    with exit_on_input_error(config.get("output")):
        preview(to_container(config))


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    run_command(main, "preview")


if __name__ == "__main__":
    start()
