"""Pasting and run-length codes against detectron2's recorded numerics and against the naive way."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from torch.nn import functional as F

from nucleiseg.inference import pasting
from nucleiseg.inference.box_masks import crops, paste, to_rle
from nucleiseg.rle import Crop, area, compress, run_lengths
from nucleiseg.structures import Prediction

FAMILIES = ("c4_r50", "c4_r101", "dc5_r50", "fpn_r50", "fpn_x101")


def make_prediction(boxes: np.ndarray, masks: np.ndarray, size: tuple[int, int]) -> Prediction:
    count = len(boxes)
    return Prediction(
        boxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(count, 4),
        scores=torch.linspace(0.9, 0.1, count),
        labels=torch.ones(count, dtype=torch.int64),
        masks=torch.as_tensor(masks, dtype=torch.float32),
        size=size,
    )


def full_size(crop: Crop, height: int, width: int) -> np.ndarray:
    full = np.zeros((height, width), dtype=bool)
    full[crop.window] = crop.mask
    return full


@pytest.mark.parametrize("grid", [14, 28])
def test_paste_equals_recorded_soft_values_and_bits(golden: Path, grid: int) -> None:
    units = np.load(golden / "units" / "units.npz")
    masks, boxes = units[f"paste{grid}_probs"], units[f"paste{grid}_boxes"]
    recorded = np.unpackbits(units[f"paste{grid}_out"], axis=1)[:, : 48 * 64].reshape(-1, 48, 64).astype(bool)
    for index, (row, column, soft) in enumerate(pasting.detectron2_crops(masks, boxes, 48, 64)):
        full = np.zeros((48, 64), dtype=np.float32)
        full[row : row + soft.shape[0], column : column + soft.shape[1]] = soft
        np.testing.assert_allclose(full, units[f"paste{grid}_soft"][index], atol=1e-5)
        pasted = full_size(Crop(*paste(masks[index], boxes[index], 48, 64)), 48, 64)
        np.testing.assert_array_equal(pasted, recorded[index])


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_of_a_family_agree_with_detectron2(golden: Path, family: str) -> None:
    arrays = np.load(golden / family / "golden.npz")
    recorded = json.loads((golden / family / "golden.json").read_text())["masks_rle"]
    rles = to_rle(make_prediction(arrays["final_boxes"], arrays["det_mask_probs"], (160, 192)))
    differing = sum(
        np.count_nonzero(coco_mask.decode(ours) != coco_mask.decode(theirs))
        for ours, theirs in zip(rles, recorded, strict=True)
    )
    assert differing <= 50


@given(
    x1=st.floats(-20, 50), y1=st.floats(-20, 40), side_x=st.floats(0.5, 60), side_y=st.floats(0.5, 60),
    grid=st.sampled_from([7, 14, 28]), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_paste_is_grid_sample(x1: float, y1: float, side_x: float, side_y: float, grid: int, seed: int) -> None:
    height, width = 31, 43
    box = np.array([x1, y1, x1 + side_x, y1 + side_y])
    mask = np.random.default_rng(seed).random((grid, grid), dtype=np.float32)
    x = torch.as_tensor((np.arange(width) + 0.5 - box[0]) / side_x * 2 - 1).float()
    y = torch.as_tensor((np.arange(height) + 0.5 - box[1]) / side_y * 2 - 1).float()
    positions = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
    whole = F.grid_sample(torch.as_tensor(mask)[None, None], positions, align_corners=False)[0, 0].numpy()
    pasted = full_size(Crop(*paste(mask, box, height, width)), height, width)
    decided = np.abs(whole - 0.5) > 1e-4
    np.testing.assert_array_equal(pasted[decided], (whole >= 0.5)[decided])


@given(
    height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 2**16),
    density=st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), data=st.data(),
)  # fmt: skip
def test_run_lengths_equal_pycocotools(height: int, width: int, seed: int, density: float, data: st.DataObject) -> None:
    top, left = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    shape = data.draw(st.integers(0, height - top)), data.draw(st.integers(0, width - left))
    crop = Crop(top, left, np.random.default_rng(seed).random(shape) < density)
    encoded = coco_mask.encode(np.asfortranarray(full_size(crop, height, width), dtype=np.uint8))
    ours = compress([run_lengths(crop, height, width)], height, width)[0]
    assert ours == {"size": [height, width], "counts": encoded["counts"].decode()}


@pytest.mark.parametrize(
    ("box", "pixels"),
    [((0, 0, 20, 12), 240), ((-40, -40, 60, 60), 240), ((0, 3, 20, 5), 40), ((7, 0, 9, 12), 24), ((30, 30, 40, 40), 0)],
)
def test_masks_that_touch_borders_fill_the_image_or_miss_it(box: tuple[float, ...], pixels: int) -> None:
    prediction = make_prediction(np.array([box]), np.ones((1, 14, 14)), (12, 20))
    rles = to_rle(prediction)
    pasted = full_size(next(crops(prediction)), 12, 20)
    assert area(rles).tolist() == [pixels]
    np.testing.assert_array_equal(coco_mask.decode(rles[0]), pasted)


def test_box_without_area_and_mask_without_pixel_stay_in_the_list() -> None:
    masks = np.stack([np.ones((14, 14)), np.zeros((14, 14)), np.ones((14, 14))])
    prediction = make_prediction(np.array([[3, 3, 3, 9], [2, 2, 9, 9], [0, 0, 4, 4]]), masks, (12, 20))
    assert area(to_rle(prediction)).tolist() == [0, 0, 16]


def test_no_instance_gives_no_mask() -> None:
    prediction = make_prediction(np.zeros((0, 4)), np.zeros((0, 14, 14)), (5, 6))
    assert to_rle(prediction) == []
    assert area([]).shape == (0,)


def test_area_of_more_masks_than_pycocotools_takes_at_once() -> None:
    rles = compress([[0, count, 300 - count] if count < 300 else [0, 300] for count in range(1, 301)], 20, 15)
    assert area(rles).tolist() == list(range(1, 301))


def test_chunks_do_not_change_the_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    corners = generator.uniform(-3, 25, (11, 2))
    boxes = np.concatenate([corners, corners + generator.uniform(1, 15, (11, 2))], axis=1)
    prediction = make_prediction(boxes, generator.random((11, 28, 28)), (30, 30))
    expected = to_rle(prediction)
    monkeypatch.setattr(pasting, "CHUNK", 4)
    assert to_rle(prediction) == expected
