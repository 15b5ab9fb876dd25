"""The `aug` keys: every file of the group builds a recipe, every bad value is named."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from nucleiseg.errors import InputError
from nucleiseg.transforms.recipe import Recipe, Resize

FOLDER = Path(__file__).parents[2] / "conf/aug"
FILES = sorted(FOLDER.glob("*.yaml"))


def read(path: Path) -> dict[str, Any]:
    """A file of the group with the files in its defaults list merged before it (all keys are flat but `resize`)."""
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    merged: dict[str, Any] = {}
    for base in settings.pop("defaults", []):
        if base != "_self_":
            merged |= read(path.with_name(f"{base}.yaml"))
    return merged | settings


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_of_the_group_builds_a_recipe(path: Path) -> None:
    assert isinstance(Recipe.from_dict(read(path), "aug", complete=True), Recipe)


def test_the_recipe_file_is_the_default() -> None:
    assert Recipe.from_dict(read(FOLDER / "recipe.yaml")) == Recipe()


def test_none_has_nothing_random() -> None:
    recipe = Recipe.from_dict(read(FOLDER / "none.yaml"), "aug")
    assert (recipe.crop, recipe.hflip, recipe.vflip, recipe.saturation) == (None, 0.0, 0.0, None)
    assert recipe.nominal_scale(1000, 1000) == pytest.approx(0.608)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_key_has_a_comment_above_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    if path.stem == "recipe":
        for above, line in pairwise(lines):
            if line and line[0] not in "# ":
                assert above.startswith("#"), line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop", [0.5]),
        ("crop", [1.5, 0.5]),
        ("crop", [0, 0.5]),
        ("crop", [0.0, 0.5]),
        ("crop", 0.5),
        ("crop", [1, 1]),
        ("crop", [0.5, 15]),
        ("crop", [True, 0.5]),
        ("saturation", [2, 0.5]),
        ("saturation", [-1, 2]),
        ("saturation", [0.5, float("nan")]),
        ("saturation", [0.5, float("inf")]),
        ("saturation", "strong"),
        ("saturation", 2.0),
        ("scale_jitter", [0.0, 1.0]),
        ("scale_jitter", [1.3, 0.7]),
        ("hflip", 1.5),
        ("hflip", "yes"),
        ("vflip", -0.1),
        ("vflip", True),
        ("brightness", 2),
        ("contrast", None),
        ("stain_jitter", -0.2),
        ("quarter_turns", 1),
        ("min_area", 0),
        ("min_area", 1.5),
        ("min_area", 10**12),
        ("crop", [10**9, 10**9]),
        ("scale_jitter", [1e-9, 1.0]),
        ("saturation", [0, 1e9]),
        ("resize", {"short": 0, "long": 800}),
        ("resize", {"short": 608, "long": 800.5}),
        ("resize", {"short": 608, "long": 10**9}),
    ],
)
def test_a_bad_value_is_named_with_its_key(key: str, value: object) -> None:
    with pytest.raises(InputError, match=rf"aug\.{key}") as error:
        Recipe.from_dict(read(FOLDER / "recipe.yaml") | {key: value}, "aug")
    shown = list(value.values()) if isinstance(value, dict) else [value]
    assert len(error.value.problems) == 1
    assert any(str(item).lower().removeprefix("none") in str(error.value) for item in shown)


@pytest.mark.parametrize("crop", [(1, 1), (0.5, 1)])
def test_a_crop_of_one_pixel_is_taken_for_a_share_without_its_point(crop: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=r"^Recipe\.crop is .* up to 1\.0, with the decimal point"):
        Recipe(crop=crop)


def test_good_edges_are_accepted() -> None:
    settings = {
        "crop": [1.0, 16],
        "saturation": [0, 0],
        "scale_jitter": [1, 1],
        "hflip": 1,
        "resize": {"short": 8, "long": 8},
    }
    assert Recipe.from_dict(read(FOLDER / "recipe.yaml") | settings).crop == (1.0, 16)


def test_all_problems_come_together() -> None:
    with pytest.raises(InputError) as error:
        Recipe.from_dict({"hflip": 2.0, "saturation": [3, 1], "resize": {"short": 900}}, "aug")
    assert error.value.problems == [
        "aug.resize.short is 900; it accepts at most the 800 of aug.resize.long.",
        "aug.saturation is [3, 1]; it accepts [lowest, highest], from 0 to 100, or null.",
        "aug.hflip is 2.0; it accepts a number from 0 to 1.",
    ]
    with pytest.raises(InputError, match=r"^Resize\.short is 900; it accepts at most the 800 of Resize\.long\.$"):
        Resize(short=900)


def test_unknown_and_missing_keys_are_named() -> None:
    settings = read(FOLDER / "recipe.yaml")
    del settings["hflip"]
    settings["flip"] = 0.5
    settings["resize"] = {"short": 608, "longest": 800}
    with pytest.raises(InputError) as error:
        Recipe.from_dict(settings, "aug", complete=True)
    named = {problem.split()[0] for problem in error.value.problems}
    assert named == {"aug.flip", "aug.hflip", "aug.resize.longest", "aug.resize.long"}
    with pytest.raises(InputError, match=r"aug\.resize is 608"):
        Recipe.from_dict(read(FOLDER / "recipe.yaml") | {"resize": 608}, "aug")
