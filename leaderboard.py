"""Rank every checkpoint of runs: `python leaderboard.py runs=RUN_OR_SWEEP_OR_GLOB [key=value ...]`.

`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. Hydra's completion for the fish shell takes files in which
    # it finds "@hydra.main" for scripts.
    from nucleiseg.commands.leaderboard import start

    start()
