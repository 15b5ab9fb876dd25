"""What all tests share: one thread, no network, the golden files."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of detectron2's numerics, recorded as data (see its README)."""
    return Path(__file__).parent / "golden"
