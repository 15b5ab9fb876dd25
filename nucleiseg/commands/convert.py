"""Write a data set in another layout: `nucleiseg convert data=auto data.root=DIR output=FOLDER to=coco`.

`nucleiseg convert --help` lists every key.
"""

import sys
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.convert import convert
from nucleiseg.cli.entry import ExitCode, exit_on_input_error, run_command
from nucleiseg.cli.shipped import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="convert")
def main(config: DictConfig) -> None:
    """Convert as the configuration says; exit with 1 if some images could not be read."""
    with exit_on_input_error():
        failed = convert(to_container(config))
    if failed:
        sys.exit(ExitCode.SOME_FAILED)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    run_command(main, "convert")


if __name__ == "__main__":
    start()
