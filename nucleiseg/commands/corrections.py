"""Count and draw what was edited in QuPath: `nucleiseg corrections predictions=FOLDER edited=FOLDER input=FOLDER`.

`nucleiseg corrections --help` lists every key.
"""

import sys
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.corrections import corrections
from nucleiseg.cli.entry import ExitCode, exit_on_input_error, run_command
from nucleiseg.cli.shipped import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="corrections")
def main(config: DictConfig) -> None:
    """Compare as the configuration says; exit with 1 if some files could not be read."""
    with exit_on_input_error(config.get("output")):
        failed = corrections(**to_container(config))
    if failed:
        sys.exit(ExitCode.SOME_FAILED)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    run_command(main, "corrections")


if __name__ == "__main__":
    start()
