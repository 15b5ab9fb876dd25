"""The folders of YAML files that come with the package."""

from pathlib import Path

CONF = Path(__file__).resolve().parents[2] / "conf"
"""The configuration: one folder a group."""

EXPERIMENTS = CONF.parent / "experiments"
"""The studies: one folder each, with an `experiment.yaml`."""
