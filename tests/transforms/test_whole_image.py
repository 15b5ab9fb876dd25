"""Whole images: each at its scale, no draw, and without the augmentation library."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from nucleiseg.structures import Sample
from nucleiseg.transforms.recipe import Recipe
from nucleiseg.transforms.whole_image import WholeImage


def make_sample(height: int = 48, width: int = 64, planes: int = 1) -> Sample:
    rng = np.random.default_rng(0)
    layers = np.zeros((planes, height, width), np.uint16)
    for plane in range(planes):
        layers[plane, 2 + plane : 9 + plane, 3:12] = plane + 1
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Sample("whole", image, layers, np.arange(planes), np.ones(planes, np.int64))


def test_whole_image_by_scale() -> None:
    sample = make_sample(height=50, width=61)
    tensor, target = WholeImage(scale=1.2)(sample)
    assert (tensor.shape, target.scale, target.seed) == ((3, 60, 73), 1.2, None)
    tensor, target = WholeImage(scale=2.0, long=100)(sample)
    assert (tensor.shape, target.scale) == ((3, 82, 100), pytest.approx(100 / 61))


def test_whole_image_by_its_shorter_side() -> None:
    sample = make_sample(height=50, width=60)
    tensor, target = WholeImage(short=100, long=110)(sample)
    assert (tensor.shape, target.scale) == ((3, 92, 110), pytest.approx(110 / 60))
    assert WholeImage(short=100).shape(50, 60) == (100, 120)
    with pytest.raises(ValueError, match="not both"):
        WholeImage(scale=1.0, short=100)


def test_whole_image_as_it_is() -> None:
    sample = make_sample(planes=2)
    tensor, target = WholeImage()(sample, 7)
    assert torch.equal(tensor, torch.from_numpy(sample.image).permute(2, 0, 1))
    assert torch.equal(target.layers, torch.from_numpy(sample.layers.astype(np.int32)))
    assert (target.scale, target.seed) == (1.0, 7)


def test_each_image_has_the_scale_of_its_own_size() -> None:
    """A relative crop magnifies small images more; validation has to show them as training does."""
    recipe = Recipe(resize_short=60, resize_long=80)
    transform = pickle.loads(pickle.dumps(WholeImage(scale=recipe.nominal_scale)))
    for side, scale in ((40, 3.0), (100, 1.2)):
        tensor, target = transform(make_sample(side, side))
        assert tensor.shape == (3, 120, 120)
        assert target.scale == pytest.approx(scale)
        assert target.scale == pytest.approx(recipe(make_sample(side, side), 0)[1].scale)


def test_a_read_only_sample_is_left_alone() -> None:
    sample = make_sample(planes=2)
    for array in (sample.image, sample.layers):
        array.flags.writeable = False
    image, target = WholeImage()(sample)
    image.add_(1)
    target.layers.add_(1)
    assert sample.layers.max() == 2


def test_albumentations_is_not_imported() -> None:
    program = (
        "import sys, nucleiseg.inference.predictor, nucleiseg.transforms.whole_image;"
        "sys.exit('albumentations' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
