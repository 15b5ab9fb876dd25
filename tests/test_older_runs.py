"""Configurations of earlier versions mean the same in today's keys."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nucleiseg.older_runs import LOGGERS, translate
from nucleiseg.run_folder import read_config

SGD = {
    "name": "sgd",
    "lr": 0.02,
    "momentum": 0.8,
    "betas": [0.9, 0.999],
    "weight_decay": 1e-4,
    "weight_decay_norm": 0.0,
    "schedule": "multistep",
    "warmup": 0.03,
    "warmup_factor": 1e-4,
    "milestones": [0.2, 0.5],
    "gamma": 0.1,
    "final_factor": 0.0,
    "total_steps": 2400,
}


def test_an_optimizer_by_its_name() -> None:
    optim = translate({"optim": SGD, "seed": 3})["optim"]
    schedule = optim.pop("schedule")
    assert optim == {
        "_target_": "torch.optim.SGD",
        "lr": 0.02,
        "momentum": 0.8,
        "weight_decay": 1e-4,
        "weight_decay_norm": 0.0,
    }
    assert schedule == {
        "_target_": "nucleiseg.training.schedule.WarmupMultistep",
        "total_steps": 2400,
        "warmup": 0.03,
        "warmup_factor": 1e-4,
        "milestones": [0.2, 0.5],
        "gamma": 0.1,
    }
    adamw = translate({"optim": {**SGD, "name": "adamw", "schedule": "cosine"}})["optim"]
    assert (adamw["_target_"], adamw["betas"], "momentum" in adamw) == ("torch.optim.AdamW", [0.9, 0.999], False)
    assert adamw["schedule"]["_target_"] == "nucleiseg.training.schedule.WarmupCosine"
    assert adamw["schedule"]["final_factor"] == 0.0


@pytest.mark.parametrize(("earlier", "today"), [(None, {}), ("wandb", {"wandb": LOGGERS["wandb"]})])
def test_a_logger_by_its_name(earlier: str | None, today: dict[str, Any]) -> None:
    assert translate({"logger": earlier}) == {"logger": today}


def test_todays_form_and_unknown_names_stay(tmp_path: Path) -> None:
    config: dict[str, Any] = {"optim": {"_target_": "torch.optim.SGD", "lr": 1.0}, "logger": {}, "model": {"name": "a"}}
    assert translate(config) == config
    strange = {"optim": {"name": "lion"}, "logger": ["wandb"]}
    assert translate(strange) == strange


def test_a_runs_configuration_is_read_in_todays_form(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"optim": SGD, "logger": "mlflow"}))
    config = read_config(tmp_path)
    assert config["optim"]["_target_"] == "torch.optim.SGD"
    assert list(config["logger"]) == ["mlflow"]
