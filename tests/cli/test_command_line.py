"""Overrides are composed whatever their key, and recorded as they were typed."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from nucleiseg.cli.command_line import forced, forced_arguments, without_force
from nucleiseg.cli.groups import group_names, options
from nucleiseg.cli.hydra_files import hydra_files, typed_overrides

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("typed", "composed"),
    [
        ("optim.lr=-1", "++optim.lr=-1"),
        ("seed=1,2", "++seed=1,2"),
        ("typo=1", "++typo=1"),
        ("aug={crop:null}", "++aug={crop:null}"),
        ("aug=none", "aug=none"),
        ("experiment=demo", "experiment=demo"),
        ("+optim.lr=1", "+optim.lr=1"),
        ("++optim.lr=1", "++optim.lr=1"),
        ("~optim.lr", "~optim.lr"),
        ("hydra.run.dir=a", "hydra.run.dir=a"),
        ("hydra/launcher=basic", "hydra/launcher=basic"),
        ("aug@here=none", "aug@here=none"),
        ("no override", "no override"),
    ],
)
def test_values_are_forced_and_nothing_else(typed: str, composed: str) -> None:
    assert forced([typed], group_names()) == [composed]
    assert forced([composed], group_names()) == [composed], "a second process of a run reads the command line again"


def test_an_override_is_shown_as_it_was_typed() -> None:
    assert [without_force(text) for text in forced(["shown.key=1", "aug=none"], {"aug"})] == ["shown.key=1", "aug=none"]
    assert without_force("++typed.by.the.user=1") == "++typed.by.the.user=1"


def test_flags_and_their_values_stay(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    given = ["-m", "--config-dir", str(tmp_path), "mine=a", "seed=1"]
    assert forced_arguments(given) == [*given[:-1], "++seed=1"], "mine is a group of that folder"


def test_the_files_of_hydra_have_the_overrides_as_typed() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("train", forced(["optim.lr=${x}", "optim=sgd"], group_names()), return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    assert typed_overrides(config.hydra) == ["optim.lr=${x}", "optim=sgd"]
    files = hydra_files(OmegaConf.masked_copy(config, "seed"))
    assert files["overrides.yaml"] == "- optim.lr=${x}\n- optim=sgd\n"
    assert OmegaConf.create(files["config.yaml"]).seed == 0
    assert OmegaConf.create(files["hydra.yaml"]).hydra.job.config_name == "train"


def test_options_of_a_group_are_its_files() -> None:
    assert options("optim") == ["adamw", "sgd"]
    assert "_base" not in options("data")


def test_earlier_keys_keep_working(capsys: pytest.CaptureFixture[str]) -> None:
    assert forced_arguments(["optim.warmup=0", "model.trunk=resnet18", "optim.lr=1"]) == [
        "++optim.schedule.warmup=0",
        "++model.backbone=resnet18",
        "++optim.lr=1",
    ]
    assert "optim.warmup is now optim.schedule.warmup." in capsys.readouterr().err
