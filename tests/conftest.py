"""What all tests share: one thread, no network, the golden files."""

import os
import signal
from collections.abc import Iterator

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from pathlib import Path

import pytest
import torch
from hypothesis import settings

settings.register_profile("nucleiseg", deadline=None)  # a slow machine is no failure: pytest-timeout catches what hangs
settings.load_profile("nucleiseg")

torch.set_num_threads(1)


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
