"""Rank every checkpoint of runs: `python leaderboard.py runs=RUN_OR_SWEEP_OR_GLOB [key=value ...]`.

`--help` lists every key.
"""

if __name__ == "__main__":
    # Not at the top: spawned workers import this file again. The function decorated with @hydra.main is in that module;
    # Hydra's completion for the fish shell greps a script for the word.
    from nucleiseg.commands.leaderboard import start

    start()
