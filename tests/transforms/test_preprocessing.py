"""Preprocessing: the scale of an image of any size, as training had it, with µm per pixel and what overrides it."""

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.errors import InputError
from nucleiseg.structures import Sample
from nucleiseg.transforms.geometry import resized_shape
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Recipe, Resize


def make_sample(height: int = 48, width: int = 64, planes: int = 1) -> Sample:
    rng = np.random.default_rng(0)
    layers = np.zeros((planes, height, width), np.uint16)
    for plane in range(planes):
        layers[plane, 2 + plane : 9 + plane, 3:12] = plane + 1
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample("whole", image, layers, np.arange(planes), np.ones(planes, np.int64))


def test_one_scale_for_images_of_any_size() -> None:
    tensor, target = Preprocessing(scale=1.2)(make_sample(height=50, width=61))
    assert (tensor.shape, target.scale, target.seed) == ((3, 60, 73), 1.2, None)


def test_the_shorter_side_of_whole_images() -> None:
    tensor, target = Preprocessing(short=100, long=110)(make_sample(height=50, width=60))
    assert (tensor.shape, target.scale) == ((3, 92, 110), pytest.approx(110 / 60))
    assert Preprocessing(short=100).shape(50, 60) == (100, 120)


def test_without_a_rule_an_image_keeps_its_size() -> None:
    sample = make_sample(planes=2)
    tensor, target = Preprocessing()(sample, 7)
    assert torch.equal(tensor, torch.from_numpy(sample.image).permute(2, 0, 1))
    assert torch.equal(target.layers, torch.from_numpy(sample.layers.astype(np.int32)))
    assert (target.scale, target.seed) == (1.0, 7)


CROPS = st.one_of(
    st.none(),
    st.tuples(st.floats(0.1, 1.0), st.floats(0.1, 1.0)),
    st.tuples(st.integers(16, 200), st.integers(16, 200)),
)
SIDES = st.integers(20, 300)


@given(CROPS, st.integers(16, 400), st.integers(0, 400), SIDES, SIDES)
def test_an_image_has_the_scale_of_its_crops_in_training(
    crop: Any,  # noqa: ANN401
    short: int,
    more: int,
    height: int,
    width: int,
) -> None:
    recipe = Recipe(crop=crop, resize=Resize(short=short, long=short + more))
    rule = recipe.preprocessing([(20, 20), (300, 300), (height, width)], bits=None, mpp=None)
    assert rule.scale_of(height, width) == recipe.nominal_scale(height, width)
    if crop is None:
        assert rule.shape(height, width) == resized_shape(height, width, short, short + more)


def test_the_target_of_training_has_the_same_scale() -> None:
    recipe = Recipe(resize=Resize(short=60, long=80))
    rule = pickle.loads(pickle.dumps(recipe.preprocessing([(40, 40), (100, 100)], None, None)))
    for side, scale in ((40, 3.0), (100, 1.2)):
        tensor, target = rule(make_sample(side, side))
        assert tensor.shape == (3, 120, 120)
        assert target.scale == pytest.approx(scale)
        assert target.scale == recipe(make_sample(side, side), 0)[1].scale


def test_sizes_beyond_the_training_are_shown_at_the_nearest_scale() -> None:
    rule = Preprocessing.of_training((0.5, 0.5), 608, 800, [(1000, 1000), (500, 500)], None, None)
    assert rule.scales == pytest.approx((1.216, 2.432))
    assert rule.scale_of(700, 700) == pytest.approx(608 / 350)
    assert rule.scale_of(5000, 5000) == rule.scale_of(1000, 1000)
    assert rule.scale_of(50, 50) == rule.scale_of(500, 500)


@given(st.floats(0.1, 2.0), st.floats(0.1, 2.0), SIDES, SIDES)
def test_the_scale_follows_micrometers_per_pixel(trained: float, image: float, height: int, width: int) -> None:
    """A nucleus of the same size in micrometers has the same size in network pixels."""
    rule = Preprocessing(crop=(64, 64), short=128, long=128, mpp=trained)
    micrometers_per_network_pixel = image / rule.scale_of(height, width, image)
    assert micrometers_per_network_pixel == pytest.approx(trained / rule.scale_of(height, width))
    assert rule.scale_of(height, width, trained) == rule.scale_of(height, width)
    assert replace(rule, mpp=None).scale_of(height, width, image) == rule.scale_of(height, width)


@pytest.mark.parametrize(
    "rule",
    [
        Preprocessing(),
        Preprocessing(scale=1.5, bits=12, mpp=0.25),
        Preprocessing.of_training((0.5, 0.25), 60, 80, [(100, 90)], 10, None),
        Preprocessing.of_training((64, 32), 60, 80, [(100, 90)], None, 0.5),
    ],
)
def test_plain_numbers_restore_it(rule: Preprocessing) -> None:
    restored = Preprocessing.from_dict(rule.to_dict())
    assert restored == rule
    assert [type(side) for side in restored.crop or ()] == [type(side) for side in rule.crop or ()]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": -1.0}, "scale is -1.0"),
        ({"scale": 1e9}, "scale is 1000000000.0"),
        ({"scale": True}, "scale is true"),
        ({"scales": [1.0, float("inf")]}, "scales is [1.0, inf]"),
        ({"short": 0}, "short is 0"),
        ({"short": 10.5}, "short is 10.5"),
        ({"mpp": "0.25"}, "mpp is '0.25'"),
        ({"crop": [0.5]}, "crop is"),
        ({"crop": [0.5, -1]}, "crop is"),
        ({"scale": 1.0, "short": 100}, "scale is 1; it accepts null beside"),
        ({"color": 1}, "color is not a key of Preprocessing"),
    ],
)
def test_numbers_that_are_not_accepted(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        Preprocessing.from_dict(values)
    assert sentence in str(raised.value)


def test_a_read_only_sample_is_left_alone() -> None:
    sample = make_sample(planes=2)
    for array in (sample.image, sample.layers):
        array.flags.writeable = False
    image, target = Preprocessing()(sample)
    image.add_(1)
    target.layers.add_(1)
    assert sample.layers.max() == 2


def test_albumentations_is_not_imported() -> None:
    program = (
        "import sys, nucleiseg.inference.predictor, nucleiseg.transforms.preprocessing;"
        "sys.exit('albumentations' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
