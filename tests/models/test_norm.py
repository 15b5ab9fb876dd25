"""Frozen normalisation in front of the weights: kept as long as it is true."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import FrozenBatchNorm2d

from nucleiseg.models.norm import as_factors, convolve


@pytest.fixture
def norm() -> FrozenBatchNorm2d:
    torch.manual_seed(0)
    made = FrozenBatchNorm2d(6, eps=1e-5)
    for buffer in made.buffers():
        buffer.uniform_(0.5, 2)
    return made


def expected(norm: FrozenBatchNorm2d) -> Tensor:
    return norm(torch.ones(1, 6, 1, 1, dtype=norm.weight.dtype)).flatten()


def assert_true(norm: FrozenBatchNorm2d) -> None:
    scale, shift = as_factors(norm)
    torch.testing.assert_close(scale + shift, expected(norm))


def other(norm: FrozenBatchNorm2d) -> dict[str, Tensor]:
    return {name: value + 1 for name, value in norm.state_dict().items()}


@pytest.mark.parametrize(
    "change",
    [
        lambda norm: norm.running_var.fill_(3),
        lambda norm: norm.load_state_dict(other(norm)),
        lambda norm: norm.load_state_dict(other(norm), assign=True),
        lambda norm: norm.double(),
        lambda norm: setattr(norm, "bias", norm.bias + 1),
    ],
)
def test_factors_follow_the_buffers(norm: FrozenBatchNorm2d, change: Callable[[FrozenBatchNorm2d], object]) -> None:
    before = as_factors(norm)
    assert_true(norm)
    change(norm)
    assert_true(norm)
    assert as_factors(norm)[0] is not before[0]


def test_factors_of_an_unchanged_norm_are_kept(norm: FrozenBatchNorm2d) -> None:
    names: list[str] = []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(
            self, function: Callable, _: object, arguments: tuple = (), keywords: dict | None = None
        ) -> object:
            names.append(function._schema.name)
            return function(*arguments, **(keywords or {}))

    conv, inputs = nn.Conv2d(3, 6, 3, bias=False), torch.rand(1, 3, 8, 8)
    once = convolve(inputs, conv, norm)
    with Names():
        again = convolve(inputs, conv, norm)
    assert torch.equal(once, again)
    assert [name for name in names if name in ("aten::rsqrt", "aten::add", "aten::sub", "aten::mul")] == ["aten::mul"]


def test_a_prediction_may_come_before_training(norm: FrozenBatchNorm2d) -> None:
    conv, inputs = nn.Conv2d(3, 6, 3, bias=False), torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        convolve(inputs, conv, norm)
    convolve(inputs, conv, norm).sum().backward()
    assert conv.weight.grad is not None
    torch.testing.assert_close(convolve(inputs, conv, norm), norm(conv(inputs)))


def test_a_norm_made_in_inference_mode_works() -> None:
    with torch.inference_mode():
        norm = FrozenBatchNorm2d(6)
        assert_true(norm)
        norm.running_var.fill_(4)
        assert_true(norm)
