"""Rank every checkpoint of runs: `nucleiseg leaderboard runs=RUN_OR_SWEEP_OR_GLOB [key=value ...]`.

`nucleiseg leaderboard --help` lists every key.
"""

import sys
from typing import NoReturn

import hydra
from omegaconf import DictConfig

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.entry import ExitCode, exit_on_input_error, run_command
from nucleiseg.cli.leaderboard import leaderboard
from nucleiseg.cli.shipped import CONF


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="leaderboard")
def main(config: DictConfig) -> None:
    """Rank as the configuration says; exit with 1 if some runs or checkpoints could not be evaluated."""
    with exit_on_input_error(config.get("output")):
        failed = leaderboard(**to_container(config))
    if failed:
        sys.exit(ExitCode.SOME_FAILED)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    run_command(main, "leaderboard")


if __name__ == "__main__":
    start()
