"""What the keys of a run accept."""

import math

import pytest
import torch

from nucleiseg.errors import InputError
from nucleiseg.training.settings import (
    CheckpointSettings,
    OptimSettings,
    TrainerSettings,
    ValidationSettings,
    checked_seed,
)

SETTINGS = [OptimSettings, TrainerSettings, CheckpointSettings, ValidationSettings]


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_unknown_key_is_named_with_those_accepted(settings: type) -> None:
    group = settings.__name__.removesuffix("Settings").lower()
    with pytest.raises(
        InputError, match=rf"{group}\.nonsense is not a known key; {group} accepts .*(every|lr|max_steps)"
    ):
        settings.from_dict({"nonsense": 1})


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        (OptimSettings, "lr", 0.0),
        (OptimSettings, "lr", -1.0),
        (OptimSettings, "lr", math.nan),
        (OptimSettings, "lr", math.inf),
        (OptimSettings, "momentum", -1),
        (OptimSettings, "momentum", 1),
        (OptimSettings, "betas", [0.9, 1.0]),
        (OptimSettings, "betas", [0.9]),
        (OptimSettings, "weight_decay", -1e-4),
        (OptimSettings, "weight_decay_norm", -1e-4),
        (OptimSettings, "gamma", 0),
        (OptimSettings, "gamma", 10),
        (OptimSettings, "warmup_factor", 2),
        (OptimSettings, "final_factor", -0.1),
        (OptimSettings, "name", "lion"),
        (OptimSettings, "warmup", 72),
        (OptimSettings, "milestones", [480, 1200]),
        (OptimSettings, "total_steps", 0),
        (TrainerSettings, "max_steps", 0),
        (TrainerSettings, "max_steps", "many"),
        (TrainerSettings, "accelerator", "tpu"),
        (TrainerSettings, "precision", "64"),
        (TrainerSettings, "precision", 64),
        (TrainerSettings, "precision", True),
        (TrainerSettings, "devices", 0),
        (TrainerSettings, "accumulate", 0),
        (TrainerSettings, "log_every", 0),
        (TrainerSettings, "clip_norm", 0.0),
        (CheckpointSettings, "every", 0),
        (CheckpointSettings, "keep", 0),
        (ValidationSettings, "every_checkpoints", 0),
        (ValidationSettings, "images", 0),
        (ValidationSettings, "overlays", -1),
    ],
)
def test_a_bad_value_is_refused_with_its_key(settings: type, key: str, value: object) -> None:
    group = settings.__name__.removesuffix("Settings").lower()
    with pytest.raises(InputError, match=rf"{group}\.{key} is .*accepts"):
        settings.from_dict({key: value})


@pytest.mark.parametrize("seed", ["abc", None, -1, 1.5, True, 2**63])
def test_a_bad_seed_is_refused(seed: object) -> None:
    with pytest.raises(InputError, match=r"seed is .* accepts a whole number from 0"):
        checked_seed(seed)
    assert checked_seed(2**63 - 1) == 2**63 - 1


def test_precision_may_be_written_as_a_number() -> None:
    assert TrainerSettings.from_dict({"precision": 32}) == TrainerSettings(precision="32")


def test_float16_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"trainer\.precision=16-mixed is for GPUs.* trainer\.precision=bf16-mixed"):
        TrainerSettings.from_dict({"precision": "16-mixed"})
    assert TrainerSettings.from_dict({"precision": "tf32"}).precision == "tf32", "float32 on the CPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TrainerSettings.from_dict({"precision": "16-mixed"}).accelerator_here == "cuda"


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_statistics_over_processes_are_for_gpus(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        InputError, match=rf"sync_batchnorm is true with trainer\.accelerator={accelerator}, which is the CPU"
    ):
        TrainerSettings(accelerator=accelerator, sync_batchnorm=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TrainerSettings(accelerator="auto", sync_batchnorm=True).sync_batchnorm


def test_all_problems_are_told_together() -> None:
    with pytest.raises(InputError) as caught:
        TrainerSettings(max_steps=0, accumulate=0)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("precision", "clip_norm", "fuses"),
    [
        ("32", None, True),
        ("32", 1.0, True),
        ("tf32", 1.0, True),
        ("bf16-mixed", None, True),
        ("bf16-mixed", 1.0, False),
    ],
)
def test_the_optimiser_is_fused_where_lightning_clips_all_the_same(
    precision: str, clip_norm: float | None, fuses: bool
) -> None:
    assert TrainerSettings(precision=precision, clip_norm=clip_norm).fuses_optimiser is fuses


def test_scaled_losses_have_another_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not TrainerSettings(precision="16-mixed").fuses_optimiser
