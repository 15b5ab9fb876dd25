"""Context managers for the precision of convolutions and matrix products.

PyTorch keeps the precision in settings of the process, so only one thread at a time can set it. There are two
interfaces: the old one (`set_float32_matmul_precision`, `allow_tf32`), which Lightning reads, and `fp32_precision`
since torch 2.9, which wins where the two differ, and makes reading the old one raise. Both are set here to the same
value, so that `32` is exact whichever a notebook has used before, and nothing raises.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch

from nucleiseg.errors import InputError
from nucleiseg.models.precision import Precision, precision_problems

AUTOCAST = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""Type that convolutions and matrix products are cast to."""

Value = TypeVar("Value")


@contextmanager
def precision_context(precision: Precision, device: torch.device | str) -> Iterator[None]:
    """Compute in a precision inside a `with` block, autocast included, and restore the previous settings afterwards.

    Where only PyTorch's general setting was made (`torch.backends.fp32_precision`), each kind of operation holds that
    value afterwards. Not thread-safe: the settings belong to the process.

    A backward pass belongs outside of autocast, but inside of `float32_context`.

    Args:
        precision: see `Precision`.
        device: where the network is.

    Raises:
        InputError: if the precision does not exist, or not on this device.
    """
    with float32_context(precision, device):
        kind, lower = torch.device(device).type, AUTOCAST.get(precision)
        with torch.autocast(kind, lower) if lower else nullcontext():
            yield


@contextmanager
def float32_context(precision: Precision, device: torch.device | str) -> Iterator[None]:
    """Set the precision of float32 without autocast, for backward passes and where Lightning casts.

    Args:
        precision: see `Precision`; `tf32` allows TF32 on a CUDA device, all others are exact.
        device: where the network is.

    Raises:
        InputError: if the precision does not exist, or not on this device.
    """
    kind = torch.device(device).type
    if problems := precision_problems(precision, kind):
        raise InputError(problems)
    before = [operation.fp32_precision for operation in _operations()]
    old = (
        _readable(torch.get_float32_matmul_precision, "highest"),
        _readable(lambda: torch.backends.cudnn.allow_tf32, default=True),
    )
    fast = precision == "tf32" and kind == "cuda"
    try:
        _set("high" if fast else "highest", fast, ["tf32" if fast else "ieee"] * len(before))
        yield
    finally:
        _set(*old, before)


def _operations() -> tuple[Any, ...]:
    """Return the backends with an `fp32_precision`; cuDNN's RNNs because the old interface sets them too."""
    backends: Any = torch.backends  # whose submodules' attributes are made at run time
    gpu, cpu = backends.cudnn, backends.mkldnn
    return backends.cuda.matmul, gpu.conv, gpu.rnn, cpu.matmul, cpu.conv


def _set(products: str, convolutions: bool, new: Sequence[str]) -> None:
    """Set both interfaces, the new one last: it wins.

    Args:
        products: for `set_float32_matmul_precision`.
        convolutions: for cuDNN's `allow_tf32`.
        new: `fp32_precision` of each of `_operations`.
    """
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions
    for operation, precision in zip(_operations(), new, strict=True):
        operation.fp32_precision = precision


def _readable(read: Callable[[], Value], default: Value) -> Value:
    """Return a setting of the old interface; the default of PyTorch where only the new one has been used."""
    try:
        return read()
    except RuntimeError:
        return default
