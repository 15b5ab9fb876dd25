"""The folders of YAML files that come with the package."""

from pathlib import Path

import nucleiseg


def shipped_folder(name: str) -> Path:
    """Return a folder that a wheel holds inside the package and a clone beside it.

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
