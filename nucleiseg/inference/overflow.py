"""Distinguish an image without nuclei from a network whose numbers overflow.

The weights of a training that diverged may be finite and its activations not. Scores that are NaN exceed no threshold
and boxes that are not finite are dropped, so such a network detects nothing anywhere, in silence.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nucleiseg.errors import InputError

LARGEST = 1e30
"""Head outputs from here on overflow float32 when boxes are decoded (3.4e38, times sides of some thousand pixels)."""


class HeadOutputs:
    """The outputs of the RPN head and the box head for one image, as references that cost no wait for a GPU."""

    def __init__(self) -> None:
        self._outputs: dict[tuple[nn.Module, str], list[Tensor]] = {}

    def keep(self, head: nn.Module, _inputs: Any, outputs: Any) -> None:  # noqa: ANN401
        """Keep the scores and boxes that a head returns, each a tensor or one a level: a forward hook."""
        for name, output in zip(("scores", "boxes"), outputs, strict=True):
            self._outputs.setdefault((head, name), []).extend([output] if isinstance(output, Tensor) else output)

    def require_finite(self) -> None:
        """Refuse a network of which a head gave no usable number.

        Raises:
            InputError: if all scores, or all boxes, of a head are NaN, infinite or about to overflow.
        """
        for (_, name), outputs in self._outputs.items():
            values = torch.cat([output.flatten() for output in outputs])
            if len(values) and not (values.abs() < LARGEST).any():
                raise InputError(
                    f"The network computes no finite {name}, though its weights are finite: its activations overflow, "
                    "as after a training that diverged (or with precision=16-mixed, where precision=32 helps). Use an "
                    "earlier checkpoint of the run, or train again with a lower learning rate."
                )


@contextmanager
def head_outputs(network: nn.Module) -> Iterator[HeadOutputs]:
    """Keep what the heads of a Mask R-CNN return inside a `with` block."""
    outputs = HeadOutputs()
    heads = (getattr(network.rpn, "head", None), getattr(network.roi_heads, "box_predictor", None))
    handles = [head.register_forward_hook(outputs.keep) for head in heads if isinstance(head, nn.Module)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
