"""Odd command lines end in sentences and exit code 2; what was typed is what a command gets."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import DictConfig

from nucleiseg.cli.command_line import SWEPT_GROUPS, as_typed
from nucleiseg.cli.containers import to_container, with_path_texts
from nucleiseg.cli.entry import exit_on_input_error, run_command
from nucleiseg.cli.resume import resume_arguments
from nucleiseg.errors import InputError

ROOT = Path(__file__).parents[2]

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(name="run")
def run_fixture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Compose a command line through Hydra and check its keys: exit code, configuration, what was printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("NUCLEISEG_DEBUG", "0")

    def run(name: str, *arguments: str, checks: bool = False) -> tuple[int, dict[str, Any], str]:
        found: dict[str, Any] = {}

        @hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name=name)
        def main(config: DictConfig) -> None:
            with exit_on_input_error():
                found.update(to_container(config))
                if checks:
                    import_module(f"nucleiseg.cli.{name}").check(found)

        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        with pytest.raises(SystemExit) as stop:
            run_command(main, name)
        return int(stop.value.code or 0), found, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        ("+foo=1", ["foo is not a key; the keys are aug, "]),
        ("++foo=1", ["foo is not a key; the keys are aug, "]),
        ("~optim", ["optim is missing; it accepts adamw, sgd."]),
        ("~checkpoint", ["checkpoint is missing; it accepts a group of keys."]),
        ("~seed", ["seed is missing; it accepts a whole number from 0 to 2**63 - 1."]),
        ("~trainer.max_steps", ["trainer.max_steps is missing; it accepts a whole number from 1 to 10,000,000."]),
        ("~trainer.max_step", ["trainer.max_step is not a key of trainer; did you mean trainer.max_steps?"]),
        ("optim=null", ["optim is null; it accepts adamw, sgd."]),
        ("trainer=5", ["trainer is 5; it accepts auto, cpu, ddp, debug, gpu."]),
        ("model=r50_fpm", ["model is r50_fpm; it accepts ", "; did you mean model=r50_fpn?"]),
        ("experiment=2024.10", ["experiment is 2024.10; it accepts demo, nuclei, vrdl_cpu."]),
        ("experiment=null", ["experiment is null; it accepts demo, nuclei, vrdl_cpu, or leave it out."]),
        ("optim.lrr=1", ["optim.lrr is not a key of optim; did you mean optim.lr?"]),
        ("modle=r50_fpn", ["modle is not a key; did you mean model?"]),
        ("max_steps=5", ["max_steps is not a key; did you mean trainer.max_steps?"]),
        ("data.image=3", ["data.image"]),
        ("hydra.foo=1", ["hydra.foo is not a key of hydra; its keys are "]),
        ("optim.lr.x=1", ["optim.lr is {x: 1}; it accepts a number above 0."]),
        ("aug@foo=none", ["write aug=none"]),
        ("+aug=none", ["write aug=none"]),
        ("+optim.lr=1", ["+optim.lr=1: optim.lr exists already, so write optim.lr=1."]),
        ("aug=none,strong", ["add -m for a sweep"]),
        ("optim.lr=1,2", ["add -m for a sweep"]),
        ("seed=[", ["seed=[ cannot be read", "Close every bracket"]),
        ("seed", ["'seed' is not an argument: settings are given as key=value"]),
        ("seed=${x}", ["Interpolation key 'x' not found", "seed"]),
        ("seed=???", ["seed is missing"]),
        ("data.root=", ["data.root= has no value"]),
        ("hydra.run.dir=null", ["hydra.run.dir"]),
        ("--config-name nosuch", ["nosuch"]),
        ("--config-dir nosuch", ["nosuch"]),
        ("--cfg job -m", ["Only one of"]),
        ("--cfg job --package nosuch", ["nosuch"]),
        ("-m model=r18_fpn,r50_c5", ["model is r50_c5; it accepts "]),
        ("-m data=demo,folders data.root=a data.images=3", ["data.images"]),
        ("-m optim.lr=-1,1 seed=-1,-2", ["optim.lr is -1; it accepts", "seed is -1; it", "seed is -2; it"]),
        (
            "optim.lr=-1 aug.hflip=2 data.batch_size=0 model.rpn.nms=3 model.typo=1",
            ["optim.lr is -1", "aug.hflip is 2", "data.batch_size is 0", "model.rpn.nms is 3", "model.typo is not a"],
        ),
        (
            "optim.lrr=1 modle=r50_fpn +foo=1 trainer=5 ~checkpoint seed=[ optim.lr=-1",
            [
                *("optim.lrr is", "modle is", "foo is", "trainer is 5", "checkpoint is missing", "seed=[ cannot"),
                "optim.lr is -1",
            ],
        ),
    ],
)
def test_an_odd_command_line_ends_in_sentences(arguments: str, sentences: list[str], run: Run) -> None:
    code, _, printed = run("train", *arguments.split(), checks=True)
    assert code == 2
    for sentence in sentences:
        assert sentence in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("name", "argument", "sentence"),
    [
        ("predict", "aug=none", "aug is not a key"),
        ("predict", "chekpoint=a", "did you mean checkpoint?"),
        ("evaluate", "data=null", "data is null; it accepts aperio, auto, "),
        ("preview", "crop=5", "did you mean crops?"),
        ("preview", "crops=abc", "crops is 'abc'; it accepts a whole number from 1 to 1,000."),
        ("preview", "+trainer=cpu", "trainer is not a key"),
        ("leaderboard", "+run=a", "run is not a key; did you mean runs?"),
        ("zoo", "fecth=a", "did you mean fetch?"),
    ],
)
def test_every_command_names_the_right_key(name: str, argument: str, sentence: str, run: Run) -> None:
    code, _, printed = run(name, argument, checks=True)
    assert code == 2
    assert sentence in printed


def test_a_chosen_group_replaces_the_section_of_the_experiment(run: Run) -> None:
    code, config, printed = run("train", "experiment=demo", "aug=none", "optim=sgd", "optim.momentum=0.5")
    assert code == 0
    assert config["aug"]["crop"] is None
    assert config["aug"]["quarter_turns"] is False
    assert (config["optim"]["lr"], config["optim"]["momentum"]) == (0.01, 0.5)
    assert config["data"]["images"] == 24, "groups that were not chosen keep the experiment's values"
    assert (
        "aug=none was chosen on the command line, so the values of experiment demo for aug are left out: "
        "crop=[160,160], resize.short=256, resize.long=256, saturation=[0.6,1.6], quarter_turns=true." in printed
    )
    assert "left out: lr=0.0006." in printed


@pytest.mark.parametrize("change", ["aug.min_area=2", "aug={min_area:2}"])
def test_a_changed_key_is_no_choice_of_a_group(change: str, run: Run) -> None:
    _, config, printed = run("train", "experiment=demo", change)
    assert config["aug"]["crop"] == [160, 160]
    assert config["aug"]["min_area"] == 2
    assert "left out" not in printed


def test_the_experiments_own_sweep_keeps_its_values(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWEPT_GROUPS, "aug,seed")
    _, config, _ = run("train", "experiment=demo", "aug=strong", "optim=sgd")
    assert config["aug"]["crop"] == [160, 160]
    assert config["aug"]["vflip"] == 0.5, "of the chosen file"
    assert config["optim"]["lr"] == 0.01


@pytest.mark.parametrize("way", ["--config-dir", "hydra.searchpath"])
def test_an_experiment_of_another_folder_follows_the_rule(way: str, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "experiment").mkdir(parents=True)
    study = "# @package _global_\ndefaults:\n  - override /aug: strong\naug:\n  crop: [99, 99]\nseed: 7\n"
    (folder / "experiment" / "own.yaml").write_text(study)
    given = ["--config-dir", str(folder)] if way == "--config-dir" else [f"{way}=[file://{folder}]"]
    assert run("train", "experiment=own", *given)[1]["aug"]["crop"] == [99, 99]
    _, config, printed = run("train", "experiment=own", "aug=none", *given)
    assert (config["aug"]["crop"], config["seed"]) == (None, 7)
    assert "left out: crop=[99,99]" in printed


def test_a_damaged_experiment_is_named_where_it_is_chosen(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "bad.yaml").write_text("# @package _global_\nseed: [1\n")
    code, _, printed = run("train", "--config-dir", "mine", "experiment=bad")
    assert code == 2
    assert "bad.yaml cannot be read as YAML" in printed
    assert run("train", "--config-dir", "mine", "experiment=demo")[0] == 0


def test_a_repeated_key_is_reported(run: Run) -> None:
    _, config, printed = run("train", "seed=1", "seed=2")
    assert config["seed"] == 2
    assert "seed is given 2 times; the last one counts: seed=2." in printed


@pytest.mark.parametrize("name", ["2024", "1e5", "true", "1_000", "Köln (1)", "a=b", "[x"])
def test_a_folder_of_data_is_what_was_typed(name: str, run: Run) -> None:
    assert run("preview", "data=folders", f"data.root={name}")[1]["data"]["root"] == name


@pytest.mark.parametrize("name", ["2024.10", "007"])
def test_a_path_is_what_was_typed(name: str, run: Run) -> None:
    assert run("train", "data=folders", f"data.root={name}")[1]["data"]["root"] == name
    assert run("evaluate", "data=folders", f"data.root={name}", "checkpoint=c")[1]["data"]["root"] == name
    keys = run("predict", *(f"{key}={name}" for key in ("checkpoint", "input", "output")))[1]
    assert [keys[key] for key in ("checkpoint", "input", "output")] == [name] * 3
    assert run("leaderboard", f"runs={name}")[1]["runs"] == name
    assert run("zoo", f"export={name}")[1]["export"] == name
    assert run("preview", f"output={name}")[1]["output"] == name


def test_null_and_home_keep_their_meaning(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    keys = run("predict", "checkpoint=~/a", "input='~/b c'", "ids=null")[1]
    assert (keys["checkpoint"], keys["input"], keys["ids"]) == (f"{tmp_path}/a", f"{tmp_path}/b c", None)
    assert run("train", "sweep.dir=~/s")[1]["sweep"]["dir"] == f"{tmp_path}/s"
    assert run("leaderboard", "runs=[2024.10,b]")[1]["runs"] == ["2024.10", "b"]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("data.root=2024.10,b", "data.root='2024.10',b"),
        ("hydra.run.dir=runs/${now:%Y}", "hydra.run.dir=runs/${now:%Y}"),
        ("data.val=0.2", "data.val=0.2"),
        ("data.val=[1.10,2]", "data.val=['1.10','2']"),
        ("optim.lr=1e5", "optim.lr=1e5"),
        ("data.root='2024.10'", "data.root='2024.10'"),
    ],
)
def test_arguments_change_only_where_text_would_be_lost(argument: str, expected: str) -> None:
    assert as_typed(argument) == expected
    assert as_typed(expected) == expected, "a second process of a run reads the same command line again"


def test_numbers_that_cannot_be_turned_back_are_refused() -> None:
    with pytest.raises(InputError, match="quote each of them"):
        as_typed("data.root=choice(2024.10,b)")


def test_paths_of_a_yaml_file_are_text_where_they_can_be() -> None:
    config = {"data": {"root": 2024, "val": 2024}, "runs": ["~", 7], "sweep": {"dir": 2024.1}}
    home = str(Path.home())
    expected = {"data": {"root": "2024", "val": 2024}, "runs": [home, "7"], "sweep": {"dir": 2024.1}}
    assert with_path_texts(config) == expected


def test_the_folder_of_a_resumed_run_is_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    given = ["resume=~/runs/a", "data.root=2024.10", "trainer.max_steps=5"]
    assert resume_arguments(given) == ["resume=/home/me/runs/a", "data.root='2024.10'", "trainer.max_steps=5"]
    assert resume_arguments(["resume='a b'"]) == ["resume=a b"]
    with pytest.raises(InputError, match="resume= has no value"):
        resume_arguments(["resume="])
