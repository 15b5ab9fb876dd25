"""Names of the precisions of convolutions and matrix products; `precision_context` applies them."""

from typing import Literal, get_args

Precision = Literal["32", "tf32", "16-mixed", "bf16-mixed"]
"""Precision of convolutions and matrix products. Weights, gradients, losses, boxes, scores and predictions are float32
in all of them, and so are the operations that need it (softmax, sums of losses, NMS).

- `32`: float32, exactly (24 bits of significand), on GPUs too. PyTorch's own default lets cuDNN round the inputs of
  convolutions to TF32 on NVIDIA's GPUs from Ampere on.
- `tf32`: NVIDIA's TF32 where the device has it: inputs are rounded to 11 bits of significand, sums are float32, the
  range of numbers stays. The CPU has none: it computes as with `32` there.
- `16-mixed`: autocast to float16: 11 bits of significand and a narrow range (largest number 65,504), so that training
  scales its losses. For GPUs.
- `bf16-mixed`: autocast to bfloat16: 8 bits of significand, the range of float32. For GPUs and CPUs.
"""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def precision_problems(precision: str, device_type: str | None = None, key: str = "precision") -> list[str]:
    """Return a sentence if a precision cannot be used.

    Args:
        precision: the value to check.
        device_type: `cpu`, `cuda` ...; None where it is not known yet.
        key: its name in the messages.
    """
    if precision not in PRECISIONS:
        return [f"{key} is {precision!r}; it accepts one of {', '.join(PRECISIONS)}."]
    if precision == "16-mixed" and device_type == "cpu":
        return [
            f"{key}=16-mixed is for GPUs, and this runs on the CPU, which gains nothing from float16: "
            f"give {key}=bf16-mixed, which has float32's range, or {key}=32."
        ]
    return []
