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
)

SETTINGS = [OptimSettings, TrainerSettings, CheckpointSettings, ValidationSettings]


@pytest.mark.parametrize("settings", SETTINGS)
def test_an_unknown_key_is_named_with_those_accepted(settings: type) -> None:
    group = settings.__name__.removesuffix("Settings").lower()
    with pytest.raises(
        InputError, match=rf"{group}\.nonsense is not a key of {group}; its keys are .*(every|lr|max_steps)"
    ):
        settings.from_dict({"nonsense": 1}, group)


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        (OptimSettings, "lr", 0.0),
        (OptimSettings, "lr", -1.0),
        (OptimSettings, "lr", math.nan),
        (OptimSettings, "lr", math.inf),
        (OptimSettings, "weight_decay", -1e-4),
        (OptimSettings, "weight_decay_norm", -1e-4),
        (OptimSettings, "schedule", "cosine"),
        (TrainerSettings, "profiler", "fast"),
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
        settings.from_dict({key: value}, group)


@pytest.mark.parametrize(
    ("settings", "key", "value"),
    [
        (OptimSettings, "lr", "0.1"),
        (TrainerSettings, "max_steps", 10**12),
        (TrainerSettings, "max_steps", True),
        (TrainerSettings, "devices", 65),
        (TrainerSettings, "num_nodes", 10**6),
        (TrainerSettings, "accumulate", 10**9),
        (TrainerSettings, "log_every", 10**9),
        (ValidationSettings, "overlays", 10**9),
    ],
)
def test_a_value_that_would_hang_or_exhaust_memory_is_refused(settings: type, key: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"^{settings.__name__}\.{key} is .*; it accepts "):
        settings(**{key: value})


def test_processes_on_the_cpu_are_bounded_by_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert TrainerSettings(accelerator="cpu", devices=4).devices == 4
    with pytest.raises(InputError, match=r"devices is 5; it accepts at most 4 processes"):
        TrainerSettings(accelerator="cpu", devices=5)


def test_precision_may_be_written_as_a_number() -> None:
    assert TrainerSettings.from_dict({"precision": 32}) == TrainerSettings(precision="32")


def test_float16_is_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"trainer\.precision=16-mixed is for GPUs.* trainer\.precision=bf16-mixed"):
        TrainerSettings.from_dict({"precision": "16-mixed"}, "trainer")
    assert TrainerSettings.from_dict({"precision": "tf32"}).precision == "tf32", "float32 on the CPU"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TrainerSettings.from_dict({"precision": "16-mixed"}).accelerator_here == "cuda"


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_statistics_over_processes_are_for_gpus(accelerator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        InputError, match=rf"sync_batchnorm is true with TrainerSettings\.accelerator={accelerator}, which is the CPU"
    ):
        TrainerSettings(accelerator=accelerator, sync_batchnorm=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TrainerSettings(accelerator="auto", sync_batchnorm=True).sync_batchnorm


def test_all_problems_are_reported_together() -> None:
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
    assert TrainerSettings(precision=precision, clip_norm=clip_norm).fuses_optimizer is fuses


def test_scaled_losses_have_another_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not TrainerSettings(precision="16-mixed").fuses_optimizer


def test_several_computers_need_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"num_nodes is 2; it accepts 1 here, .* no SLURM, torchrun, MPI or LSF"):
        TrainerSettings(num_nodes=2)
    monkeypatch.setenv("MASTER_ADDR", "node0")
    monkeypatch.setenv("NODE_RANK", "1")
    assert TrainerSettings(num_nodes=2).num_nodes == 2
