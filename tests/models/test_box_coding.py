"""torchvision's box coder, as the RPN and the box head call it, against detectron2's numbers."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

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
