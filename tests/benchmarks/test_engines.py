"""Engines are compared with eager torch on the graphs of a prediction."""

import numpy as np
import pytest

from benchmarks import engines
from nucleiseg.errors import InputError


def test_the_greatest_difference_is_relative_to_each_output() -> None:
    expected = [np.array([100.0, 1.0]), np.array([-2.0])]
    found = [np.array([100.0, 2.0]), np.array([-2.1])]
    assert engines.difference(found, expected) == pytest.approx(0.05)
    assert engines.difference(expected, expected) == 0


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InputError, match="engines is tensorrt; it accepts torch, compile, onnx, openvino"):
        engines.Options(engines=("torch", "tensorrt"))


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "package"), [("torch", "torch"), ("onnx", "onnxruntime"), ("openvino", "openvino")])
def test_an_engine_gives_the_numbers_of_torch(engine: str, package: str) -> None:
    for needed in (package, *(["onnxscript"] if engine != "torch" else [])):
        pytest.importorskip(needed)
    chosen = engines.Options(models=("r18_fpn",), engines=(engine,), side=64, proposals=4, detections=2, repeats=1)
    rows = engines.main(chosen).rows
    assert [row["graph"] for row in rows] == ["backbone, RPN head", "box head", "mask head"]
    assert all(float(row["greatest difference"] or 0) < 1e-3 for row in rows)
