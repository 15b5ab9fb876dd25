"""torchvision's rule of pasting against torchvision itself (detectron2's is tested with the bits in test_box_masks)."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection.roi_heads import paste_masks_in_image

from nucleiseg.inference.box_masks import crops, paste
from nucleiseg.structures import Prediction

HEIGHT, WIDTH = 31, 43


def pasted(boxes: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    count = len(boxes)
    prediction = Prediction(
        boxes, torch.ones(count), torch.ones(count, dtype=torch.int64), masks, (HEIGHT, WIDTH), pasting="torchvision"
    )
    full = np.zeros((count, HEIGHT, WIDTH), dtype=bool)
    for plane, crop in zip(full, crops(prediction), strict=True):
        plane[crop.window] = crop.mask
    return full


def stock(boxes: torch.Tensor, masks: torch.Tensor) -> np.ndarray:
    return (paste_masks_in_image(masks[:, None], boxes, (HEIGHT, WIDTH))[:, 0] >= 0.5).numpy()


def random_boxes(generator: torch.Generator, largest: float, count: int = 20) -> torch.Tensor:
    """Boxes that overlap the image; a third has a corner outside, a third is clipped to the image."""
    limits = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT], dtype=torch.float32)
    centres = torch.rand(count, 2, generator=generator) * limits[:2]
    halves = torch.rand(count, 2, generator=generator) * largest / 2
    boxes = torch.cat([centres - halves, centres + halves], dim=1)
    boxes[::3] = torch.minimum(boxes[::3].clamp(min=0), limits)
    boxes[1::3] = boxes[1::3].round()
    return boxes


@given(
    largest=st.sampled_from([0.02, 1.0, 3.0, 20.0, 100.0]), grid=st.sampled_from([7, 14, 28]),
    seed=st.integers(0, 2**16),
)  # fmt: skip
def test_bits_are_those_of_torchvision(largest: float, grid: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes = random_boxes(generator, largest)
    masks = torch.rand(len(boxes), grid, grid, generator=generator)
    np.testing.assert_array_equal(pasted(boxes, masks), stock(boxes, masks))


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, WIDTH, HEIGHT),
        (-9, -7, 60, 50),
        (WIDTH - 0.01, HEIGHT - 0.01, WIDTH, HEIGHT),
        (0, 0, 0.01, 0.01),
        (-0.9, -0.9, 0.9, 0.9),
        (4, 4, 4, 9),
        (5, 5, 6, 6),
        (0, 12.5, WIDTH, 13.5),
    ],
)
def test_bits_at_borders_and_of_tiny_boxes(box: tuple[float, ...]) -> None:
    boxes, masks = torch.tensor([box], dtype=torch.float32), torch.ones(1, 28, 28)
    np.testing.assert_array_equal(pasted(boxes, masks), stock(boxes, masks))


@pytest.mark.parametrize("box", [(60, 5, 70, 9), (5, 50, 9, 60), (-30, 5, -20, 9), (5, -30, 9, -20)])
def test_a_box_outside_the_image_has_no_pixel(box: tuple[float, ...]) -> None:
    assert not pasted(torch.tensor([box], dtype=torch.float32), torch.ones(1, 14, 14)).any()


def test_no_box_gives_no_mask() -> None:
    assert pasted(torch.zeros(0, 4), torch.zeros(0, 14, 14)).shape == (0, HEIGHT, WIDTH)


def test_only_the_box_is_computed() -> None:
    mask, box = np.ones((28, 28), dtype=np.float32), np.array([1000.2, 2000.7, 1012.4, 2009.1], dtype=np.float32)
    row, column, crop = paste(mask, box, 10**6, 10**6, "torchvision")
    assert (row, column) == (2000, 999)
    assert crop.shape == (2009 - 2000 + 1, 1012 - 999 + 1)


def test_the_rules_differ() -> None:
    mask, box = np.ones((28, 28), dtype=np.float32), np.array([2, 2, 8, 8], dtype=np.float32)
    assert paste(mask, box, HEIGHT, WIDTH)[2].sum() == 36
    assert paste(mask, box, HEIGHT, WIDTH, "torchvision")[2].sum() > 36
