"""Targets: what of an image's instances is still there after its transform."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nucleiseg.structures import IgnoreRegions, Sample
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.transforms.recipe import Recipe, Resize
from nucleiseg.transforms.targets import make_target


def test_target_keeps_source_values_and_looks_up_labels_and_planes() -> None:
    layers = np.zeros((2, 6, 6), np.uint16)
    layers[0, 1:3, 1:4] = 2
    layers[1, 2:6, 2:3] = 4
    target = make_target(
        layers, np.array([0, 0, 1, 1, 0]), np.array([1, 3, 1, 2, 1]), name="a", scale=1.5, seed=11, min_area=1
    )
    assert target.values.tolist() == [2, 4]
    assert target.labels.tolist() == [3, 2]
    assert target.layer_index.tolist() == [0, 1]
    assert (target.name, target.scale, target.seed) == ("a", 1.5, 11)
    assert (target.layers.dtype, target.boxes.dtype) == (torch.int32, torch.float32)
    assert target.mask(1).sum() == 4


def test_small_instances_leave_the_planes_too() -> None:
    layers = np.zeros((1, 4, 4), np.uint16)
    layers[0, 0, 0] = 1
    layers[0, 2:, 2:] = 2
    target = make_target(layers, np.zeros(2, np.int64), np.ones(2, np.int64), min_area=4)
    assert target.values.tolist() == [2]
    assert torch.unique(target.layers).tolist() == [0, 2]
    assert layers[0, 0, 0] == 1  # the caller's planes are not written to
    assert len(make_target(layers, np.zeros(2, np.int64), np.ones(2, np.int64), min_area=5)) == 0


def test_no_instance_is_a_valid_target() -> None:
    for layer_index in (np.zeros(0, np.int64), np.zeros(9, np.int64)):
        target = make_target(np.zeros((1, 5, 5), np.uint16), layer_index, np.ones_like(layer_index))
        assert len(target) == 0
        assert target.boxes.shape == (0, 4)
        assert target.layers.shape == (1, 5, 5)


def test_read_only_planes_are_enough() -> None:
    layers = np.zeros((1, 3, 3), np.int32)
    layers[0, 1, 1] = 1
    layers.flags.writeable = False
    target = make_target(layers, np.zeros(1, np.int64), np.ones(1, np.int64))
    target.layers[0, 0, 0] = 5
    assert layers[0, 0, 0] == 0


IGNORED = np.zeros((40, 56), np.uint16)
IGNORED[4:20, 9:33] = 1


def sample_with_ignore() -> Sample:
    """An ignore region and a nucleus of the same pixels, so that every transform must move both alike."""
    image = np.random.default_rng(0).integers(0, 256, (*IGNORED.shape, 3), dtype=np.uint8)
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    return Sample("a", image, IGNORED[None], zero, one, ignore=IgnoreRegions(IGNORED[None], zero, one))


@pytest.mark.parametrize("seed", range(6))
def test_crop_resize_and_flip_carry_ignore_regions_as_they_carry_nuclei(seed: int) -> None:
    sample = sample_with_ignore()
    recipe = Recipe(crop=(0.5, 0.5), resize=Resize(short=36, long=60), hflip=0.5, vflip=0.5, quarter_turns=True)
    image, target = recipe(sample, seed)
    assert target.ignore is not None
    assert torch.equal(target.ignore, (target.layers != 0).any(dim=0))
    assert target.ignore.shape == image.shape[1:]
    other_image, without = recipe(replace(sample, ignore=None), seed)
    assert without.ignore is None
    assert torch.equal(image, other_image)
    assert torch.equal(without.layers, target.layers)


def test_whole_images_carry_ignore_regions() -> None:
    _, target = Preprocessing(scale=1.5)(sample_with_ignore())
    assert target.ignore is not None
    assert target.ignore.shape == (60, 84)
    assert torch.equal(target.ignore, target.layers[0] != 0)
