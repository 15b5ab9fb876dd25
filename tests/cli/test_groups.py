"""Errors of library code name parameters; the command line shows them as its own keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nucleiseg.cli.groups import qualified, qualified_errors
from nucleiseg.cli.train import train
from nucleiseg.errors import InputError

CONFIG = {
    "seed": 0,
    "model": {"norm": None, "freeze_at": 2, "anchors": {"sizes": [8]}, "mask": {"pool": 14}},
    "data": {"root": "runs", "val": 0.2, "group": "auto"},
}


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("norm is x; it accepts gn.", "model.norm is x; it accepts gn."),
        ("FILE has GroupNorm: set norm=gn to load it.", "FILE has GroupNorm: set model.norm=gn to load it."),
        ("A: val names b, but not c", "A: data.val names b, but not c"),
        ("add 4 to anchors.sizes.", "add 4 to model.anchors.sizes."),
        ("The folder is missing: set root to a folder", "The folder is missing: set data.root to a folder"),
        ("norm=gn is refused, since norm is x", "model.norm=gn is refused, since model.norm is x"),
        ("keep fewer images (val)", "keep fewer images (data.val)"),
        ("it accepts 0 (group=none)", "it accepts 0 (data.group=none)"),
        # common words, keys that have their group, paths and quoted values stay as they are
        ("the norm of the gradient is small; a mask is a group of pixels", None),
        ("model.norm is x; data.val=none", None),
        ("runs/norm=gn is missing", None),
        ("the name 'norm' is taken", None),
        ("norm.png is no image; norms is fine; anchors.sizes2 too", None),
    ],
)
def test_parameters_become_keys_of_their_groups(sentence: str, expected: str | None) -> None:
    assert qualified(sentence, CONFIG) == (expected or sentence)
    assert qualified(qualified(sentence, CONFIG), CONFIG) == (expected or sentence), "twice is once"


def test_groups_that_are_not_mappings_are_ignored() -> None:
    assert qualified("norm is x", {"model": None, "seed": 1}) == "norm is x"


def test_every_problem_of_an_error_is_qualified() -> None:
    with pytest.raises(InputError) as caught, qualified_errors(CONFIG):
        raise InputError(["norm is x.", "val is y."])
    assert caught.value.problems == ["model.norm is x.", "data.val is y."]


def test_training_reports_keys_with_their_groups(
    composed: Callable[..., dict[str, Any]], tiny: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"^data\.group is '\(nowhere\)', which finds none in"):
        train(composed("train", *tiny, "data.group='(nowhere)'"), tmp_path)
    with pytest.raises(InputError, match=r"^model\.anchors\.sizes has 2 sizes"):
        train(composed("train", *tiny, "model=r50_fpn", "model.anchors.sizes=[8,16]"), tmp_path)
