"""Folders of YAML files shipped with the package."""

from pathlib import Path

import nucleiseg


def shipped_folder(name: str) -> Path:
    """Return a folder that lies inside the package in a wheel, beside it in a clone.

    >>> (shipped_folder("conf") / "train.yaml").exists()
    True
    """
    package = Path(nucleiseg.__file__).resolve().parent
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


CONF = shipped_folder("conf")
"""The configuration: one folder a group."""

EXPERIMENTS = shipped_folder("experiments")
"""The studies: one folder each, with an `experiment.yaml`."""
