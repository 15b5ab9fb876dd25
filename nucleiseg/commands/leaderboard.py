"""Rank every checkpoint of runs: `nucleiseg leaderboard runs=RUN_OR_SWEEP_OR_GLOB [key=value ...]`.

`nucleiseg leaderboard --help` lists every key.
"""

from typing import Any, NoReturn

from nucleiseg.cli.entry import start_command


def run(config: dict[str, Any]) -> int:
    """Run the command with a composed configuration; return the number of items that failed."""
    # Imported here: `--help` and the completion of command lines do not wait for torch.
    from nucleiseg.cli.leaderboard import leaderboard

    return leaderboard(**config)


def start() -> NoReturn:
    """Run the command with the arguments of this process."""
    start_command("leaderboard", run)


if __name__ == "__main__":
    start()
