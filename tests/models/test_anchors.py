"""Anchors: written out by hand, detectron2's, torchvision's, and the grid that describes them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import FAMILIES, GoldenFamily
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from nucleiseg.errors import InputError
from nucleiseg.models.anchor_grid import cell_numbers
from nucleiseg.models.anchors import GridAnchorGenerator, exact_cells, sizes_per_level
from nucleiseg.models.numerics import DETECTRON2, TORCHVISION, Numerics

SIZES = (8, 16, 32, 64, 128)


def test_cell_anchors_by_hand() -> None:
    by_hand = [(-8, -2, 8, 2), (-4, -4, 4, 4), (-2, -8, 2, 8), (-32, -8, 32, 8), (-16, -16, 16, 16), (-8, -32, 8, 32)]
    assert exact_cells([8, 32], [0.25, 1.0, 4.0]) == tuple(by_hand)


def test_units_are_detectron2s(golden: Path) -> None:
    units = np.load(golden / "units" / "units.npz")
    generator = GridAnchorGenerator(sizes=[SIZES], strides=[16])
    grid = generator.grid((32, 48), [torch.zeros(1, 1, 2, 3)])
    assert np.array_equal(grid.cell_anchors[0].numpy(), units["anchor_cells"])
    assert np.array_equal(grid.boxes().numpy(), units["anchor_grid_2x3_offset0.0"])


@pytest.mark.parametrize("name", FAMILIES)
def test_anchors_of_a_network_are_detectron2s(golden: Path, name: str) -> None:
    family = GoldenFamily.load(golden, name)
    strides = (4, 8, 16, 32, 64)[: family.levels] if family.levels > 1 else (16,)
    generator = GridAnchorGenerator(sizes=family.anchor_sizes, strides=strides)
    maps = [torch.from_numpy(family.arrays[f"rpn_logits_{level}"])[None] for level in range(family.levels)]
    height, width = family.arrays["padded_input_shape"].tolist()
    grid = generator.grid((height, width), maps)
    expected = [family.arrays[f"anchors_{level}"] for level in range(family.levels)]
    assert grid.counts == [len(level) for level in expected]
    assert np.array_equal(grid.boxes().numpy(), np.concatenate(expected))


def test_torchvision_numerics_are_torchvisions() -> None:
    images = ImageList(torch.zeros(2, 3, 96, 224), [(90, 224), (96, 200)])
    maps = [torch.zeros(2, 1, 24, 56), torch.zeros(2, 1, 2, 4)]  # 224 // 4 = 56: not the nominal 64
    sizes = ((8, 12), (64,))
    ours = GridAnchorGenerator(sizes=sizes, strides=(4, 64), numerics=TORCHVISION)(images, maps)
    theirs = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * 2)(images, maps)
    assert len(ours) == len(theirs) == 2
    assert all(a.equal(b) for a, b in zip(ours, theirs, strict=True))


def test_anchors_stay_float32_on_half_precision_maps() -> None:
    images = ImageList(torch.zeros(1, 3, 64, 64), [(64, 64)])
    maps = [torch.zeros(1, 1, 4, 4, dtype=torch.bfloat16)]
    assert GridAnchorGenerator(sizes=[SIZES], strides=[16])(images, maps)[0].dtype == torch.float32


def test_the_first_anchor_is_centerd_on_the_image_corner() -> None:
    generator = GridAnchorGenerator(sizes=[(10,)], ratios=[1.0], strides=[8])
    boxes = generator.grid((16, 24), [torch.zeros(1, 1, 2, 3)]).boxes()
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert centers.tolist() == [[0, 0], [8, 0], [16, 0], [0, 8], [8, 8], [16, 8]]
    assert generator.num_anchors_per_location() == [1]


def test_sizes_are_distributed_over_levels() -> None:
    assert sizes_per_level(SIZES, 1) == (SIZES,)
    assert sizes_per_level(SIZES, 5) == ((8,), (16,), (32,), (64,), (128,))
    assert sizes_per_level(SIZES, 2, every_level=True) == (SIZES, SIZES)
    with pytest.raises(InputError, match=r"anchors\.sizes has 5 sizes .* 4 feature maps"):
        sizes_per_level(SIZES, 4)


def test_levels_and_strides_must_agree() -> None:
    with pytest.raises(ValueError, match="2 levels of anchor sizes, but 1 strides"):
        GridAnchorGenerator(sizes=[(8,), (16,)], strides=[4])


@pytest.mark.parametrize("numerics", [DETECTRON2, TORCHVISION])
def test_cells_are_known_without_data(numerics: Numerics) -> None:
    here = GridAnchorGenerator(sizes=[[8], [16]], strides=[4, 8], numerics=numerics)
    with torch.device("meta"):
        there = GridAnchorGenerator(sizes=[[8], [16]], strides=[4, 8], numerics=numerics)
    assert there.cells == here.cells == cell_numbers(here.cell_anchors)
