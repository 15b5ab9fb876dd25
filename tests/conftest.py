"""What all tests share: one thread, no network, the golden files."""

import os
import signal
from collections.abc import Callable, Iterator

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import settings

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.studies import register_studies

# No deadline, since a slow machine is not a failure and pytest-timeout ends what hangs; the same examples everywhere.
settings.register_profile("nucleiseg", deadline=None, derandomize=True)
settings.load_profile("nucleiseg")

torch.set_num_threads(1)

ROOT = Path(__file__).parents[1]

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


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of detectron2's numerics, recorded as data (see its README)."""
    return Path(__file__).parent / "golden"


@pytest.fixture
def heeded_interrupts() -> Iterator[None]:
    """Let Ctrl-C interrupt, also where the tests run in the background and inherit that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def composed() -> Callable[..., dict[str, Any]]:
    """Compose a command's configuration with overrides, as plain Python."""
    register_studies(ROOT / "experiments")

    def compose_plain(door: str, *overrides: str) -> dict[str, Any]:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            return to_container(compose(door, list(overrides)))

    return compose_plain


@pytest.fixture
def tiny() -> list[str]:
    """Overrides that make a run one of some seconds."""
    return list(TINY)
