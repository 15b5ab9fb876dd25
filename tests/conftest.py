"""What all tests share: one thread, no network, the golden files."""

import os
import signal
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache, partial

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import settings

from nucleiseg.cli.containers import to_container
from nucleiseg.cli.studies import register_studies
from nucleiseg.models.backbones.registry import register_backbone
from nucleiseg.models.backbones.resnet import ResNetSpec, build_resnet
from nucleiseg.models.checkpoint import Metadata, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build

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
"""Overrides for a run of some seconds."""

NARROW = "resnet10_narrow"
"""A ResNet of 1.2 million weights, a tenth of the smallest that users have: most of the time of a test that writes and
reads checkpoints goes by their size. Only the process of the tests has it."""

# GroupNorm has 32 groups, so no layer can be narrower.
register_backbone(NARROW, has_own_norm=False)(
    partial(
        build_resnet,
        ResNetSpec(depths=(1, 1, 1, 1), width_per_group=32, stem_channels=32, res2_channels=32, basic=True),
    )
)

TINY_MODEL: dict[str, Any] = {
    "name": "tiny",
    "backbone": NARROW,
    "norm": "gn",
    "fpn_channels": 32,
    "roi": {"fc_dim": 16},
    "mask": {"convs": 1, "channels": 8},
    "detection": {"score_threshold": 0.0, "limit": 5},
}
"""A network that predicts an image in some milliseconds."""


@cache
def compose_once(command: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """Compose a command's configuration; the same overrides cost Hydra's 0.2 s once a session."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return to_container(compose(command, list(overrides)))


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of detectron2's numerics, recorded as data (see its README)."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an untrained network of `TINY_MODEL`, for tests that only read it."""
    path = tmp_path_factory.mktemp("run") / "step.ckpt"
    torch.manual_seed(0)
    config = ModelConfig.from_dict(TINY_MODEL)
    save(path, build(config, num_classes=1), Metadata(model=config.to_dict(), scale=1.0))
    return path


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

    def compose_copy(command: str, *overrides: str) -> dict[str, Any]:
        if any(override.startswith("logger") for override in overrides):  # their files read the environment
            return compose_once.__wrapped__(command, overrides)
        return deepcopy(compose_once(command, overrides))

    return compose_copy


@pytest.fixture
def tiny() -> list[str]:
    """Overrides that make a run one of some seconds."""
    return list(TINY)
