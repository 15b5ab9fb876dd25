"""Every file in conf/ and every study composes, and its values are accepted."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from nucleiseg.cli.convert import ConvertKeys
from nucleiseg.cli.corrections import CorrectionsKeys
from nucleiseg.cli.evaluate import EvaluateKeys
from nucleiseg.cli.predict import PredictKeys
from nucleiseg.cli.preview import PreviewKeys
from nucleiseg.cli.train_settings import RunSettings
from nucleiseg.cli.zoo import ZooKeys
from nucleiseg.errors import InputError
from nucleiseg.inference.tta import TTASettings
from nucleiseg.training.schedule import Multistep
from nucleiseg.training.settings import (
    STUDY_SCHEDULE,
    CheckpointSettings,
    OptimSettings,
    TrainerSettings,
    ValidationSettings,
)
from nucleiseg.transforms.recipe import Recipe

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(file.stem for file in (ROOT / "conf").glob("*.yaml"))
OPTIONS = sorted(
    f"{file.parent.name}={file.stem}" for file in (ROOT / "conf").glob("*/*.yaml") if not file.stem.startswith("_")
)
STUDIES = sorted(file.parent.name for file in (ROOT / "experiments").glob("*/experiment.yaml"))
MANDATORY = {
    "predict": ["checkpoint=c", "input=i"],
    "evaluate": ["predictions=p", "truth=t"],
    "leaderboard": ["runs=r"],
    "convert": ["data.root=d", "output=o"],
    "corrections": ["predictions=p", "edited=e", "input=i"],
}


def check(config: dict[str, Any]) -> None:
    """Give every group to its class, in one pass."""
    RunSettings.from_config(config)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_and_has_a_script(command: str, composed: Callable[..., dict[str, Any]]) -> None:
    composed(command, *MANDATORY.get(command, []))
    assert (ROOT / f"{command}.py").exists()


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_accepted(option: str, composed: Callable[..., dict[str, Any]]) -> None:
    if option.startswith("tta="):
        PredictKeys.from_dict(composed("predict", *MANDATORY["predict"], option), "")
        return
    mandatory = {"data=demo": [], "data=mixed": ["data.sets=[a.yaml,b.yaml]"]}
    check(composed("train", option, *mandatory.get(option, ["data.root=somewhere"] * option.startswith("data="))))


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_composes_and_is_explained(study: str, composed: Callable[..., dict[str, Any]]) -> None:
    config = composed("train", f"experiment={study}", "++data.root=somewhere")
    if config["data"]["reader"] == "demo":
        del config["data"]["root"]
    check(config)
    assert f"experiment={study}" in (ROOT / "experiments" / study / "README.md").read_text(encoding="utf-8")


def test_files_of_callbacks_and_loggers_merge(composed: Callable[..., dict[str, Any]]) -> None:
    mine = "+callbacks.mine={_target_: pytorch_lightning.callbacks.Timer}"
    config = composed("train", "callbacks=[early_stopping,ema]", mine, "logger=[wandb,csv]")
    assert list(config["callbacks"]) == ["early_stopping", "ema", "mine"]
    assert list(config["logger"]) == ["wandb", "csv"]
    check(config)
    assert composed("train")["callbacks"] == composed("train")["logger"] == {}


def test_another_launcher_numbers_the_jobs_too() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", ["model=r50_c4"], return_hydra_config=True)
    config.hydra.job.num = 7
    HydraConfig.instance().set_config(config)
    assert config.hydra.sweep.subdir == "7_r50_c4"


def test_the_missions_overrides_compose(composed: Callable[..., dict[str, Any]]) -> None:
    config = composed("train", "model=r50_c4", "aug.saturation=[0.5,2]")
    assert config["model"]["name"] == "r50_c4"
    assert Recipe.from_dict(config["aug"], "aug").saturation == (0.5, 2)
    assert composed("train", "data.val=none")["data"]["val"] == "none"


@pytest.mark.parametrize(
    ("group", "settings"),
    [
        ("trainer", TrainerSettings),
        ("checkpoint", CheckpointSettings),
        ("validation", ValidationSettings),
        ("aug", Recipe),
    ],
)
def test_defaults_of_a_group_are_those_of_its_card(
    group: str, settings: type, composed: Callable[..., dict[str, Any]]
) -> None:
    assert settings.from_dict(composed("train")[group], group, complete=True) == settings()


@pytest.mark.parametrize(
    ("command", "keys", "mandatory"),
    [
        ("predict", PredictKeys, {"checkpoint": "c", "input": "i"}),
        ("evaluate", EvaluateKeys, {"predictions": "p", "truth": "t"}),
        ("convert", ConvertKeys, {"output": "o"}),
        ("corrections", CorrectionsKeys, {"predictions": "p", "edited": "e", "input": "i"}),
        ("preview", PreviewKeys, {}),
        ("zoo", ZooKeys, {}),
    ],
)
def test_defaults_of_a_command_are_those_of_its_card(
    command: str, keys: type, mandatory: dict[str, str], composed: Callable[..., dict[str, Any]]
) -> None:
    groups = {"data", "aug", "model"}
    card = {key: value for key, value in composed(command).items() if key not in groups}
    assert card.keys() | mandatory.keys() | groups >= {field.name for field in fields(keys)}
    assert keys.from_dict({**card, **mandatory}, "") == keys(**mandatory)


@pytest.mark.parametrize(("option", "views"), [("none", 1), ("flips", 4), ("rotations", 8), ("study", 6)])
def test_options_of_test_time_augmentation(option: str, views: int, composed: Callable[..., dict[str, Any]]) -> None:
    for command in ("predict", "evaluate", "leaderboard"):
        config = composed(command, *MANDATORY[command], f"tta={option}")
        assert TTASettings.from_dict(config["tta"], "tta", complete=True).views == views
    assert TTASettings.from_dict(composed("predict", *MANDATORY["predict"])["tta"], "tta") == TTASettings()


def test_defaults_of_the_optimizer_are_those_of_its_card(composed: Callable[..., dict[str, Any]]) -> None:
    card = composed("train")["optim"]
    schedule = {**card.pop("schedule"), "total_steps": 7}
    assert OptimSettings.from_dict({**card, "schedule": STUDY_SCHEDULE}, "optim") == OptimSettings()
    assert schedule.pop("_target_") == STUDY_SCHEDULE["_target_"]
    assert Multistep.from_dict(schedule) == Multistep(total_steps=7)


def test_problems_of_all_groups_come_together(composed: Callable[..., dict[str, Any]]) -> None:
    overrides = ("optim.lr=-1", "aug.hflip=2", "data.batch_size=0", "model.rpn.nms=3", "+foo=1", "+trainer.max_step=3")
    with pytest.raises(InputError) as caught:
        RunSettings.from_config(composed("train", *overrides))
    named = {problem.split()[0] for problem in caught.value.problems}
    assert named == {"optim.lr", "aug.hflip", "data.batch_size", "model.rpn.nms", "foo", "trainer.max_step"}
    assert "did you mean trainer.max_steps?" in str(caught.value)


@pytest.mark.parametrize("given", [None, 5, "absent"])
def test_a_group_that_is_missing_or_a_scalar_is_named_with_its_keys(
    given: object, composed: Callable[..., dict[str, Any]]
) -> None:
    config = composed("train")
    del config["optim"]
    if given != "absent":
        config["optim"] = given
    with pytest.raises(
        InputError,
        match=r"^optim is ((null|5); it accepts the keys _target_|missing; it accepts adamw, sgd)",
    ):
        RunSettings.from_config(config)
