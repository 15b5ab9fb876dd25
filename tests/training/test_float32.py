"""`trainer.precision` holds forwards, backwards and in validation, and leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny import TinyNetwork, train_tiny
from torch import Tensor

from nucleiseg.structures import Prediction, Target
from nucleiseg.training.trainer import Float32Arithmetic


class WatchedNetwork(TinyNetwork):
    """Remembers PyTorch's setting in each of its passes."""

    def __init__(self, **broken: int) -> None:
        super().__init__(**broken)
        self.seen: dict[str, set[str]] = {}
        self.head.weight.register_hook(lambda _: self.note("backward"))

    def note(self, where: str) -> None:
        self.seen.setdefault(where, set()).add(torch.get_float32_matmul_precision())

    def losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        self.note("forward" if torch.is_grad_enabled() else "validation losses")
        return super().losses(images, targets)

    def predict(self, image: Tensor) -> Prediction:
        self.note("validation")
        return super().predict(image)


@pytest.fixture(autouse=True)
def notebook() -> Iterator[None]:
    """Somebody has allowed TF32 before."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_a_run_is_exact_in_all_its_passes(tmp_path: Path, precision: str) -> None:
    network = WatchedNetwork()
    train_tiny(tmp_path, 2, network=network, precision=precision)
    places = ("forward", "backward", "validation", "validation losses")
    assert network.seen == {place: {"highest"} for place in places}
    assert torch.get_float32_matmul_precision() == "high"


def test_a_run_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    network = WatchedNetwork(fails_after=1)
    with pytest.raises(RuntimeError, match="killed"):
        train_tiny(tmp_path, 4, network=network)
    assert network.seen["forward"] == {"highest"}
    assert torch.get_float32_matmul_precision() == "high"


def test_tf32_is_float32_on_a_cpu(tmp_path: Path) -> None:
    network = WatchedNetwork()
    train_tiny(tmp_path, 2, network=network, precision="tf32")
    assert network.seen["forward"] == network.seen["backward"] == {"highest"}
    assert next(network.parameters()).dtype == torch.float32


@pytest.mark.parametrize(("precision", "products"), [("tf32", "high"), ("32", "highest"), ("16-mixed", "highest")])
@pytest.mark.parametrize("end", ["teardown", "on_exception"])
def test_a_gpu_gets_what_was_asked_for_until_the_end(precision: Any, products: str, end: str) -> None:  # noqa: ANN401
    torch.set_float32_matmul_precision("medium")
    callback = Float32Arithmetic(precision)
    on_gpu: Any = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cuda", 1)))
    callback.setup(on_gpu, None, "fit")  # type: ignore[arg-type]
    assert torch.get_float32_matmul_precision() == products
    assert torch.backends.cudnn.allow_tf32 is (products == "high")
    for _ in range(2):  # an error in a teardown calls both
        getattr(callback, end)(on_gpu, None, None)
    assert torch.get_float32_matmul_precision() == "medium"
    assert torch.backends.cudnn.allow_tf32
