"""Pretrained weights: `nucleiseg zoo` lists them, `nucleiseg zoo fetch=NAME,NAME` downloads ahead.

`nucleiseg zoo export=CHECKPOINT output=FILE.pkl` turns a checkpoint into a file of detectron2.
`nucleiseg zoo --help` lists every key.
"""

import sys
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode, exit_on_input_error, run_command
from nucleiseg.cli.shipped import CONF
from nucleiseg.cli.zoo import as_lists, zoo


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="zoo")
def main(config: DictConfig) -> None:
    """List, fetch or export as the configuration says; exit with 1 if some weights could not be fetched."""
    with exit_on_input_error():
        failed = zoo(**to_container(config))
    if failed:
        sys.exit(ExitCode.SOME_FAILED)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    sys.argv[1:] = as_lists(sys.argv[1:])
    run_command(main, "zoo")


if __name__ == "__main__":
    start()
