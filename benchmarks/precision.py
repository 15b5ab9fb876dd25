"""Names of precisions in the benchmarks."""

from nucleiseg.errors import InputError
from nucleiseg.models.precision import Precision

PRECISIONS: dict[str, Precision] = {"float32": "32", "tf32": "tf32", "bf16": "bf16-mixed"}
"""Precision in the benchmarks -> precision of `nucleiseg.models.precision`."""


def product_precision(name: str) -> Precision:
    """Return the precision of `nucleiseg.models.precision` for a benchmark's `precision=`.

    Raises:
        InputError: for an unknown name.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision is {name!r}; it accepts {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]
