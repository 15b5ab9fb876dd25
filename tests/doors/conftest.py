"""Composed configurations, as the doors get them; and this folder on the path, for `fake_slurm`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from nucleiseg.doors.entry import plain
from nucleiseg.doors.studies import register_studies

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

TINY = [
    "data.images=4",
    "data.size=64",
    "data.val=0.25",
    "data.cache_dir=none",
    "aug.crop=[48,48]",
    "aug.resize.short=64",
    "aug.resize.long=64",
    "model.fpn_channels=32",
    "model.rpn.post_nms_train=40",
    "model.rpn.post_nms_test=40",
    "model.roi.batch_size=16",
    "model.roi.fc_dim=32",
    "model.mask.convs=1",
    "model.mask.channels=32",
    "trainer.accelerator=cpu",
]
"""A run of some seconds."""


@pytest.fixture
def composed() -> Callable[..., dict[str, Any]]:
    """Compose a door's configuration with overrides, as plain Python."""
    register_studies(ROOT / "experiments")

    def compose_plain(door: str, *overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return plain(compose(door, list(overrides)))

    return compose_plain


@pytest.fixture
def tiny() -> list[str]:
    """Overrides that make a run one of some seconds."""
    return list(TINY)
