"""Targets: what of an image's instances is still there after its transform."""

import numpy as np
import torch

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
