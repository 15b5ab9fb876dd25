"""Look at the data before training: `python preview.py data=folders data.root=DIR aug=recipe output=preview`.

Writes a sheet of raw images, a sheet of augmented crops with their outlines, and the nuclei per image.
"""

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import run_door, sentences
from nucleiseg.cli.preview import preview


@hydra.main(version_base="1.3", config_path="conf", config_name="preview")
def main(config: DictConfig) -> None:
    """Draw the figures that the configuration asks for."""
    with sentences(config.get("output")):
        preview(to_container(config))


if __name__ == "__main__":
    run_door(main, "preview")
