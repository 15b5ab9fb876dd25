"""Albumentations transforms that a user adds: applied to image and label maps alike, or refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.errors import InputError
from nucleiseg.structures import Sample
from nucleiseg.transforms.extra import check_extra, join_words, make_extra, split_words
from nucleiseg.transforms.recipe import Recipe, Resize

BLUR = {"_target_": "albumentations.GaussianBlur", "blur_limit": [5, 5], "p": 1.0}
SHIFT = {"_target_": "albumentations.Affine", "translate_px": {"x": [7, 7], "y": [3, 3]}, "p": 1.0}


def sample(dtype: type, largest: int) -> Sample:
    """64 nuclei in squares of 6 pixels, the last with a given number."""
    layers = np.zeros((2, 64, 64), dtype)
    for number in range(63):
        row, column = divmod(number, 8)
        layers[0, row * 8 : row * 8 + 6, column * 8 : column * 8 + 6] = number + 1
    layers[1, 40:46, 44:60] = largest
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    count = largest
    return Sample("a", image, layers, np.zeros(count, np.int64), np.ones(count, np.int64))


def recipe(*extra: dict[str, Any]) -> Recipe:
    keys = {"crop": None, "hflip": 0.0, "resize": {"short": 64, "long": 64}, "extra": list(extra)}
    return Recipe.from_dict(keys, "aug")


def test_blur_changes_the_image_and_no_nucleus() -> None:
    source = sample(np.uint16, 65_535)
    plain, expected = recipe()(source, 3)
    blurred, target = recipe(BLUR)(source, 3)
    assert not np.array_equal(blurred.numpy(), plain.numpy())
    assert abs(blurred.float().mean() - plain.float().mean()) < 1
    np.testing.assert_array_equal(target.layers.numpy(), expected.layers.numpy())


@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.uint16, 64), (np.uint16, 65_535), (np.int32, 65_536), (np.int32, 200_001)]
)
def test_planes_move_with_the_image_at_both_ends_of_the_range(dtype: type, largest: int) -> None:
    """A shift by (7, 3) pixels, exactly, for numbers that 16 bits hold and for those that need more."""
    source = sample(dtype, largest)
    image, target = recipe(SHIFT)(source, 0)
    expected = np.zeros_like(source.layers)
    expected[:, 3:, 7:] = source.layers[:, :-3, :-7]
    np.testing.assert_array_equal(target.layers.numpy(), expected)
    np.testing.assert_array_equal(image.numpy()[:, 3:, 7:], source.image.transpose(2, 0, 1)[:, :-3, :-7])
    assert int(target.values[-1]) == largest


def test_the_same_seed_gives_the_same_sample() -> None:
    source = sample(np.int32, 65_536)
    made = recipe({"_target_": "albumentations.ElasticTransform", "alpha": 30, "sigma": 4, "p": 0.5}, BLUR)
    first, second, other = (made(source, seed) for seed in (4, 4, 5))
    assert np.array_equal(first[0].numpy(), second[0].numpy())
    assert np.array_equal(first[1].layers.numpy(), second[1].layers.numpy())
    assert not np.array_equal(first[0].numpy(), other[0].numpy())


@given(st.lists(st.integers(0, 2**31 - 1), min_size=4, max_size=4))
def test_words_join_to_what_was_split(values: list[int]) -> None:
    planes = np.array(values, np.int32).reshape(1, 2, 2)
    words = split_words(planes)
    assert words.dtype == np.uint16
    np.testing.assert_array_equal(join_words(words), planes)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (
            {"_target_": "albumentations.Normalize"},
            "Normalize, which cannot be applied .* float32 images",
        ),
        ({"_target_": "albumentations.ToGray", "num_output_channels": 1}, "it makes uint8 images of shape"),
        (
            {"_target_": "albumentations.RandomCrop", "height": 500, "width": 500},
            "RandomCrop, which cannot",
        ),
        ({"_target_": "albumentations.Resize", "height": 20, "width": 20}, r"images of shape \(20, 20, 3\)"),
        (
            {"_target_": "albumentations.Affine", "rotate": [20, 20], "mask_interpolation": 1},
            "albumentations.Affine, which cannot be applied .* it invents numbers in label maps",
        ),
        ({"_target_": "albumentations.GaussianBlurr"}, r"aug\.extra\[0\]\._target_ is 'albumentations\.GaussianBlurr'"),
        ({"_target_": "albumentations.GaussianBlur", "power": "x", "p": "often"}, r"aug\.extra\[0\]"),
        ({"_target_": "os.mkdir", "path": "made_by_a_target"}, r"aug\.extra\[0\]\._target_ is 'os\.mkdir'"),
        ({"p": 0.5}, r"aug\.extra\[0\] is .*; it accepts _target_"),
    ],
)
def test_an_unsuitable_transform_is_refused_by_its_name(
    extra: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        check_extra([extra], from_file=True, key="aug.extra")
    assert not (tmp_path / "made_by_a_target").exists()


def test_all_unsuitable_transforms_come_together() -> None:
    extra = [{"_target_": "albumentations.Normalize"}, BLUR, {"_target_": "albumentations.ToFloat"}]
    with pytest.raises(InputError) as error:
        check_extra(extra, from_file=False, key="aug.extra")
    assert [problem.split()[0] for problem in error.value.problems] == ["aug.extra[0]", "aug.extra[2]"]
    assert len(make_extra([BLUR, SHIFT], key="extra")) == 2


def test_a_file_may_name_classes_of_trusted_packages_alone() -> None:
    own = {"_target_": "my_package.Blur"}
    with pytest.raises(InputError, match=r"trust=\[my_package\]"):
        check_extra([own], from_file=True, key="aug.extra")
    check_extra([BLUR, SHIFT], from_file=True, key="aug.extra")


@pytest.mark.parametrize("extra", ["blur", {"_target_": "x"}, ["albumentations.GaussianBlur"], [1]])
def test_extra_is_a_list_of_groups(extra: object) -> None:
    with pytest.raises(InputError, match=r"aug\.extra is .*; it accepts a list of up to 50 transforms"):
        Recipe.from_dict({"extra": extra}, "aug")


def test_without_extra_nothing_is_split() -> None:
    made = Recipe(crop=None, hflip=0.0, resize=Resize(short=64, long=64))
    source = sample(np.int32, 70_000)
    np.testing.assert_array_equal(made(source, 0)[1].layers.numpy(), source.layers)
