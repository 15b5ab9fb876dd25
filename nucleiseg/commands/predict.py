"""Find the nuclei of images: `nucleiseg predict checkpoint=FILE input=FILE_OR_FOLDER output=FOLDER [key=value ...]`.

`nucleiseg predict --help` lists every key.
"""

import sys
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode, exit_on_input_error, run_command
from nucleiseg.cli.predict import predict
from nucleiseg.cli.shipped import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="predict")
def main(config: DictConfig) -> None:
    """Predict as the configuration says; exit with 1 if some images could not be read."""
    with exit_on_input_error(config.get("output")):
        failed = predict(**to_container(config))
    if failed:
        sys.exit(ExitCode.SOME_FAILED)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    run_command(main, "predict")


if __name__ == "__main__":
    start()
