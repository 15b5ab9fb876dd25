"""Rank every checkpoint of runs: `nucleiseg leaderboard runs=RUN_OR_SWEEP_OR_GLOB [key=value ...]`.

`nucleiseg leaderboard --help` lists every key.
"""

from typing import NoReturn

from nucleiseg.cli.entry import start_command
from nucleiseg.cli.leaderboard import leaderboard


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("leaderboard", lambda config: leaderboard(**config))


if __name__ == "__main__":
    start()
