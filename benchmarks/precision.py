"""The benchmarks' words for arithmetic, and the product's."""

from nucleiseg.errors import InputError
from nucleiseg.models.precision import Precision

PRECISIONS: dict[str, Precision] = {"float32": "32", "tf32": "tf32", "bf16": "bf16-mixed"}
"""Of each key `precision=` here, the one of the product that it measures."""


def product_precision(name: str) -> Precision:
    """Return the product's word for one of ours.

    Raises:
        InputError: if there is none.
    """
    if name not in PRECISIONS:
        raise InputError(f"precision={name} is not known: choose one of {', '.join(PRECISIONS)}.")
    return PRECISIONS[name]
