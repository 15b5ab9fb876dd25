"""Settings: equal for seeds, folds and places, and called by what differs alone."""

import copy
from pathlib import Path
from typing import Any

import pytest

from nucleiseg.leaderboard.run_settings import name_settings
from nucleiseg.runs import Run

CONFIG: dict[str, Any] = {
    "seed": 0,
    "data": {
        "reader": "folders",
        "root": "/here/train",
        "fold": 1,
        "folds": 5,
        "val": 0.2,
        "workers": None,
        "batch_size": 1,
    },
    "aug": {"saturation": [0.5, 2.0], "hflip": 0.5},
    "model": {"name": "r50_c4", "mask": {"channels": 256}, "weights": None},
    "optim": {"_target_": "torch.optim.SGD", "lr": 0.01, "momentum": 0.9, "schedule": {"total_steps": 600}},
    "trainer": {"max_steps": 600, "devices": 1, "num_nodes": 1, "log_every": 10, "accelerator": "auto"},
    "checkpoint": {"every": 200},
    "validation": {"losses": True},
    "sweep": {"dir": "runs/sweep"},
}


def run(images: str = "abc", **changes: object) -> Run:
    config = copy.deepcopy(CONFIG)
    for dotted, value in changes.items():
        *groups, last = dotted.split("__")
        place = config
        for group in groups:
            place = place[group]
        place[last] = value
    splits = {"train": list(images[:-1]), "val": [images[-1]]}
    return Run(Path("run"), "run", config, [], [], {}, splits)


def names(*runs: Run) -> list[str]:
    return [setting.name for setting in name_settings(runs)]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 7},
        {"data__fold": 3},
        {"data__root": "/elsewhere/copy"},
        {"data__cache_dir": "none"},
        {"data__workers": 4},
        {"trainer__devices": "auto"},
        {"trainer__accelerator": "gpu"},
        {"trainer__log_every": 1},
        {"checkpoint__every": 50},
        {"validation__losses": False},
        {"sweep__dir": "elsewhere"},
        {"images": "cab"},
    ],
)
def test_what_changes_no_result_is_the_same_setting(changes: dict[str, Any]) -> None:
    first, second = name_settings([run(), run(**changes)])
    assert first == second
    assert first.name == "r50_c4"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"aug__saturation": [2, 10]}, ("saturation 0.5-2", "saturation 2-10")),
        ({"aug__saturation": None}, ("saturation 0.5-2", "saturation null")),
        ({"optim__lr": 1e-3}, ("lr 0.01", "lr 0.001")),
        ({"trainer__max_steps": 800, "optim__schedule__total_steps": 800}, ("max_steps 600", "max_steps 800")),
        ({"optim__schedule__total_steps": 800}, ("total_steps 600", "total_steps 800")),
        ({"trainer__devices": 2}, ("processes 1", "processes 2")),
        ({"trainer__devices": [0, 3]}, ("processes 1", "processes 2")),
        ({"data__batch_size": 4}, ("batch_size 1", "batch_size 4")),
        ({"data__fold": None}, ("split 5 folds", "split hold-out")),
        ({"data__folds": 10}, ("split 5 folds", "split 10 folds")),
        ({"data__val": ["a", "b"]}, ("val 0.2", "val a b")),
        ({"validation": {}, "aug__flips": True}, ("", "flips true")),
    ],
)
def test_differences_are_described_in_words(changes: dict[str, Any], words: tuple[str, str]) -> None:
    settings = name_settings([run(), run(**changes)])
    assert [setting.name for setting in settings] == [", ".join(filter(None, ("r50_c4", word))) for word in words]
    assert settings[0].key != settings[1].key


def test_the_number_of_folds_does_not_matter_where_there_are_none() -> None:
    first, second = name_settings([run(data__fold=None), run(data__fold=None, data__folds=10)])
    assert first == second


def test_a_model_is_its_name_alone_unless_two_of_that_name_differ() -> None:
    other = {"model__name": "r18_fpn", "model__mask": {"channels": 96}}
    assert names(run(), run(**other)) == ["r50_c4", "r18_fpn"]
    narrow = {**other, "model__mask": {"channels": 64}}
    assert names(run(**other), run(**narrow)) == ["r18_fpn, channels 96", "r18_fpn, channels 64"]


def test_an_optimizer_is_its_class_alone() -> None:
    adamw = {"_target_": "torch.optim.AdamW", "lr": 4e-4, "betas": [0.9, 0.999], "schedule": {"total_steps": 600}}
    assert names(run(), run(optim=adamw)) == ["r50_c4, optim SGD", "r50_c4, optim AdamW"]


def test_keys_with_the_same_last_part_are_written_out() -> None:
    changed = run(aug__scale=1, model__scale=1), run(aug__scale=2, model__scale=2)
    assert names(*changed) == ["r50_c4, aug.scale 1, model.scale 1", "r50_c4, aug.scale 2, model.scale 2"]


def test_other_images_are_another_setting() -> None:
    assert names(run(), run("xyz", data__root="/there/kidney")) == ["r50_c4, set train", "r50_c4, set kidney"]
    same_name = names(run(), run("xyz", data__root="/there/train"))
    assert len(set(same_name)) == 2
    assert all(name.startswith("r50_c4, set train ") for name in same_name)
