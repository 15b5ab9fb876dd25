"""Box deltas: torchvision's coder against detectron2's numbers, ours against torchvision's to the bit."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from nucleiseg.models.box_coding import decode_boxes, encode_boxes
from nucleiseg.models.roi_heads import BOX_WEIGHTS

CASES = [("1111", (1.0, 1.0, 1.0, 1.0)), ("101055", BOX_WEIGHTS)]


@pytest.mark.parametrize(("name", "weights"), CASES)
def test_deltas_are_applied_and_found_as_in_detectron2(
    name: str, weights: tuple[float, float, float, float], golden: Path
) -> None:
    units = np.load(golden / "units" / "units.npz")
    boxes, deltas, target = (torch.from_numpy(units[f"b2b_{key}"]) for key in ("src", "deltas", "target"))
    coder = BoxCoder(weights)
    assert coder.bbox_xform_clip == pytest.approx(math.log(1000 / 16))
    applied = coder.decode_single(deltas, boxes)
    torch.testing.assert_close(applied, torch.from_numpy(units[f"b2b_apply_{name}"]), rtol=1e-5, atol=1e-4)
    found = coder.encode_single(target, boxes)
    torch.testing.assert_close(found, torch.from_numpy(units[f"b2b_get_{name}"]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", [weights for _, weights in CASES])
def test_deltas_are_torchvisions_to_the_bit(weights: tuple[float, float, float, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 500, 2, generator=generator) * 600
    boxes, references = torch.cat([corner, corner + 1 + 90 * torch.rand(2, 500, 2, generator=generator)], dim=2)
    assert encode_boxes(boxes, references, *weights[::2]).equal(BoxCoder(weights).encode_single(boxes, references))
    assert encode_boxes(boxes[:0], references[:0]).shape == (0, 4)
    deltas = 8 * torch.randn(500, 4, generator=generator)  # some beyond the largest growth
    assert decode_boxes(deltas, references, *weights[::2]).equal(BoxCoder(weights).decode_single(deltas, references))
    assert decode_boxes(deltas[:0], references[:0]).shape == (0, 4)


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_decoding_undoes_encoding(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(2, 9, 2, generator=generator) * 100
    boxes, references = torch.cat([corner, corner + 4 + 40 * torch.rand(2, 9, 2, generator=generator)], dim=2)
    weights = BOX_WEIGHTS[::2]
    decoded = decode_boxes(encode_boxes(boxes, references, *weights), references, *weights)
    torch.testing.assert_close(decoded, boxes, rtol=1e-4, atol=1e-3)
