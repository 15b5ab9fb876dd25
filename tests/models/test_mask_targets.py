"""Mask targets sampled from layers equal RoIAlign of the full masks."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torchvision.ops import roi_align

from nucleiseg.label_maps import measure
from nucleiseg.models.mask_targets import mask_targets
from nucleiseg.structures import Target


def ellipses(count: int, height: int, width: int, seed: int) -> tuple[Target, torch.Tensor]:
    """Overlapping ellipses, some over the border, as a target and as (N, H, W) bool masks."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    planes, masks, index = [torch.zeros(height, width, dtype=torch.int32)], [], []
    while len(masks) < count:
        y, x, a, b = (torch.rand(4, generator=generator) * torch.tensor([height, width, 12, 12])).tolist()
        mask = ((rows - y) / (a + 2)) ** 2 + ((columns - x) / (b + 2)) ** 2 < 1
        if not mask.any():
            continue
        plane = next((i for i, layer in enumerate(planes) if not layer[mask].any()), len(planes))
        if plane == len(planes):
            planes.append(torch.zeros_like(planes[0]))
        planes[plane][mask] = 10 * len(masks) + 7  # values need not be counted through
        masks.append(mask)
        index.append(plane)
    return target_of(torch.stack(planes), index, [10 * i + 7 for i in range(count)]), torch.stack(masks)


def target_of(layers: torch.Tensor, index: list[int], values: list[int]) -> Target:
    return Target(
        boxes=torch.zeros(len(index), 4),
        labels=torch.ones(len(index), dtype=torch.int64),
        layers=layers,
        layer_index=torch.tensor(index),
        values=torch.tensor(values),
    )


def rois_of(count: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Boxes inside the image, from points to the whole of it, some along its border."""
    generator = torch.Generator().manual_seed(seed)
    corners = (torch.rand(count, 2, 2, generator=generator) * 1.2 - 0.1).clamp(0, 1)
    low, high = corners.amin(dim=1), corners.amax(dim=1)
    return torch.cat([low, high], dim=1) * torch.tensor([width, height, width, height])


def direct(masks: torch.Tensor, rois: torch.Tensor, instances: torch.Tensor, size: int, aligned: bool) -> torch.Tensor:
    numbered = torch.cat([instances[:, None].float(), rois], dim=1)
    return roi_align(masks[:, None].float(), numbered, size, aligned=aligned)[:, 0]


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 12),
    size=st.sampled_from([7, 14, 28]),
    aligned=st.booleans(),
    height=st.integers(3, 70),
    width=st.integers(3, 70),
)
def test_bit_for_bit_what_roi_align_of_the_full_mask_gives(
    seed: int, count: int, size: int, aligned: bool, height: int, width: int
) -> None:
    target, masks = ellipses(count, height, width, seed)
    rois = rois_of(20, height, width, seed + 1)
    instances = torch.randint(0, count, (20,), generator=torch.Generator().manual_seed(seed))
    expected = direct(masks, rois, instances, size, aligned)
    soft = mask_targets(target, rois, instances, size, aligned=aligned, binary=False)
    assert torch.equal(soft, expected)
    hard = mask_targets(target, rois, instances, size, aligned=aligned)
    assert torch.equal(hard, (expected >= 0.5).float())


@pytest.mark.parametrize("size", [14, 28])
def test_equal_to_detectron2s_crops(golden: Path, size: int) -> None:
    with np.load(golden / "units" / "units.npz") as archive:
        boxes = torch.from_numpy(archive["crop_boxes"])
        packed = archive[f"crop_out{size}_packed"]
    expected = np.unpackbits(packed, axis=1)[:, : size * size].reshape(-1, size, size)
    encoded = json.loads((golden / "units" / "units.json").read_text(encoding="utf-8"))["crop_masks_rle"]
    masks = torch.from_numpy(np.stack([coco.decode(rle) for rle in encoded])).bool()
    layers = masks.int()  # an instance a plane, so that overlaps do not matter
    target = target_of(layers, list(range(len(masks))), [1] * len(masks))
    targets = mask_targets(target, boxes, torch.arange(len(masks)), size)
    assert np.array_equal(targets.numpy().astype(np.uint8), expected)


def test_tight_boxes_are_detectron2s(golden: Path) -> None:
    encoded = json.loads((golden / "units" / "units.json").read_text(encoding="utf-8"))["crop_masks_rle"]
    layers = np.stack([coco.decode(rle).astype(np.int32) * number for number, rle in enumerate(encoded, 1)])
    with np.load(golden / "units" / "units.npz") as archive:
        assert np.array_equal(measure(layers).boxes, archive["crop_tight_boxes"])


def test_a_box_as_large_as_its_grid_copies_the_mask() -> None:
    layers = torch.zeros(1, 20, 30, dtype=torch.int32)
    layers[0, 3:9, 5:12] = 4
    layers[0, 3:9, 12:16] = 5
    box = torch.tensor([[4.0, 2.0, 18.0, 16.0]])
    copied = mask_targets(target_of(layers, [0], [4]), box, torch.tensor([0]), 14)
    assert torch.equal(copied[0], (layers[0, 2:16, 4:18] == 4).float())


def test_no_rois() -> None:
    target, _ = ellipses(2, 20, 20, 0)
    assert mask_targets(target, torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 14).shape == (0, 14, 14)


def test_no_array_of_the_size_of_all_masks() -> None:
    """2,000 instances of a 1000 x 1000 image: 2 GB of masks; the largest array here: four pixels for each bin."""
    layers = torch.arange(1, 1_000_001, dtype=torch.int32).reshape(1, 1000, 1000) // 500
    target = target_of(layers, [0] * 2000, list(range(1, 2001)))
    boxes = torch.tensor([[100.0, 100.0, 130.0, 130.0]]).repeat(64, 1)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Callable, _: object, arguments: tuple = (), keywords: dict | None = None
        ) -> object:
            nonlocal largest
            result = function(*arguments, **(keywords or {}))
            if isinstance(result, torch.Tensor) and result.data_ptr() != layers.data_ptr():  # not a view of them
                largest = max(largest, result.numel())
            return result

    with Watch():
        mask_targets(target, boxes, torch.arange(64), 28)
    assert largest == 4 * 64 * 28 * 28
