"""The size of the largest nuclei that a checkpoint stores, from which the overlap of tiles follows."""

from types import SimpleNamespace

import numpy as np
import pytest

from nucleiseg.cli.train import _largest_nucleus
from nucleiseg.data.cache import Summary
from nucleiseg.transforms.preprocessing import Preprocessing


def summary(name: str, side: int, boxes: np.ndarray) -> Summary:
    return Summary(name, side, side, boxes.astype(np.float32), key=name)


def test_the_largest_nucleus_is_a_percentile_in_network_pixels() -> None:
    """Images of 100 and 200 pixels are both shown at 200: nuclei of 10 x 20 and of 40 x 10 both have 40."""
    small = summary("small", 100, np.tile([0, 0, 10, 20], (1000, 1)))
    large = summary("large", 200, np.tile([5, 5, 45, 15], (1000, 1)))
    region = summary("region", 200, np.array([[0, 0, 200, 200]]))
    data = SimpleNamespace(summaries=[small, large, region, summary("none", 100, np.zeros((0, 4)))])
    assert _largest_nucleus(data, Preprocessing(short=200, long=400)) == pytest.approx(40)  # type: ignore[arg-type]


def test_without_nuclei_it_is_unknown() -> None:
    data = SimpleNamespace(summaries=[summary("none", 100, np.zeros((0, 4)))])
    assert _largest_nucleus(data, Preprocessing()) is None  # type: ignore[arg-type]
