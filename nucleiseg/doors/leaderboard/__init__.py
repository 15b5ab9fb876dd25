"""From the plain keys of `conf/leaderboard.yaml` to ranked checkpoints: what `leaderboard.py` calls."""
