"""Score anybody's results: `nucleiseg evaluate predictions=FILE truth=FILE_OR_FOLDER [key=value ...]`.

Or a checkpoint on a data set: `nucleiseg evaluate checkpoint=FILE_OR_RUN data=folders data.root=DIR [key=value ...]`.
`nucleiseg evaluate --help` lists every key.
"""

import sys
from pathlib import Path
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode, exit_on_input_error, run_command
from nucleiseg.cli.evaluate import evaluate
from nucleiseg.cli.shipped import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="evaluate")
def main(config: DictConfig) -> None:
    """Evaluate as the configuration says; exit with 1 if the truth of some images could not be read."""
    with exit_on_input_error(Path(str(config.get("output"))).parent):
        unreadable = evaluate(**to_container(config))
    if unreadable:
        sys.exit(ExitCode.SOME_FAILED)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    run_command(main, "evaluate")


if __name__ == "__main__":
    start()
