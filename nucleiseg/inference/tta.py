"""Test-time augmentation: the views of an image that are predicted, and their exact inverses.

A view is one of the eight symmetries of the square, at one scale. Turning and flipping a box and the grid of mask
probabilities over it moves numbers without changing them, so undoing a symmetry is exact. `inference.view_merging`
merges the detections of the views.

For example:

    PredictionSettings(tta=TTASettings(flips=("horizontal", "vertical"), merge="detectron2"))
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from nucleiseg.settings import AsTuple, Settings, settings
from nucleiseg.structures import Prediction

Flip = Literal["horizontal", "vertical"]
"""`horizontal` swaps left and right, `vertical` top and bottom."""

Merge = Literal["agreement", "detectron2"]
"""How the detections of the views become those of the image, see `inference.view_merging`."""

Side = Annotated[int, Field(ge=1, le=100_000)]
"""Side of an image in network pixels; `Predictor.prepare` bounds the product of both."""

Factor = Annotated[float, Field(ge=0.1, le=10)]
"""Of the prediction's scale: beyond, nuclei have no pixels left, or an image has 100 times as many."""


@dataclass(frozen=True, order=True)
class Symmetry:
    """A symmetry of the square: a flip, then quarter turns.

    Attributes:
        flip: whether columns are reversed first.
        quarter_turns: counterclockwise, 0 .. 3.
    """

    flip: bool = False
    quarter_turns: int = 0

    @property
    def inverse(self) -> "Symmetry":
        """The symmetry that undoes this one; those with a flip are mirrors, and undo themselves."""
        return self if self.flip else Symmetry(quarter_turns=-self.quarter_turns % 4)

    def apply(self, image: Tensor) -> Tensor:
        """Return a (..., h, w) image as this view shows it; its sides are swapped by an odd number of turns."""
        flipped = image.flip(-1) if self.flip else image
        return torch.rot90(flipped, self.quarter_turns, (-2, -1)).contiguous()

    def undo(self, prediction: Prediction) -> Prediction:
        """Return the detections of a view in pixels of the image before `apply`."""
        boxes, (height, width) = prediction.boxes, prediction.size
        for _ in range(self.quarter_turns):  # row i, column j of the view are column width - i and row j before a turn
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes = torch.stack([height - y2, x1, height - y1, x2], dim=1)
            height, width = width, height
        masks = torch.rot90(prediction.masks, -self.quarter_turns, (-2, -1))
        if self.flip:
            x1, y1, x2, y2 = boxes.unbind(dim=1)
            boxes, masks = torch.stack([width - x2, y1, width - x1, y2], dim=1), masks.flip(-1)
        return replace(prediction, boxes=boxes, masks=masks, size=(height, width))


@dataclass(frozen=True, eq=False)
class View:
    """A view of an image.

    Attributes:
        image: (3, h, w) uint8, the image at the scale of the view.
        symmetry: how it is turned and flipped.
    """

    image: Tensor
    symmetry: Symmetry

    @property
    def shown(self) -> Tensor:
        """The (3, h, w) uint8 image that the network gets."""
        return self.symmetry.apply(self.image)

    def undo(self, prediction: Prediction, size: tuple[int, int]) -> Prediction:
        """Return the detections of the view in pixels of the source image of a (height, width)."""
        return self.symmetry.undo(prediction).rescaled(size)

    def show(self, prediction: Prediction) -> Prediction:
        """Return the detections of the source image in pixels of the view, with masks of (N, 0, 0)."""
        height, width = self.image.shape[-2:]
        factors = prediction.boxes.new_tensor([width / prediction.size[1], height / prediction.size[0]]).repeat(2)
        boxes, masks = prediction.boxes * factors, prediction.masks.new_zeros(len(prediction), 0, 0)
        return self.symmetry.inverse.undo(replace(prediction, boxes=boxes, masks=masks, size=(height, width)))


@settings
class TTASettings(Settings):
    """The views of a prediction, each symmetry at each scale, and how they are merged. The default is one view.

    Attributes:
        flips: axes to flip along; both also give the flip along both.
        quarter_turns: also turn each view by 90, 180 and 270 degrees; with any flip these are all eight symmetries.
        scales: factors of the prediction's scale; empty: 1 alone.
        shorts: instead, network pixels of the image's shorter side, one a view; empty: the prediction's scale.
        merge: `agreement` or `detectron2`, see `inference.view_merging`. It has no effect on one view.

    Raises:
        InputError: if a value is not accepted, or both `scales` and `shorts` are given.

    Examples:
        >>> TTASettings(flips=("horizontal",), quarter_turns=True).views, TTASettings().views
        (8, 1)
    """

    flips: Annotated[tuple[Flip, ...], AsTuple] = ()
    quarter_turns: bool = False
    scales: Annotated[tuple[Factor, ...], AsTuple] = ()
    shorts: Annotated[tuple[Side, ...], AsTuple] = ()
    merge: Merge = "agreement"

    def contradictions(self, at: str) -> Iterable[str]:
        """Refuse two lists that both set the scales."""
        if self.scales and self.shorts:
            yield f"{at}scales and {at}shorts both set the scales of the views: give one of them."

    @property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """The symmetries of the views, the image itself first."""
        # a vertical flip is a horizontal one and a half turn
        generators = {"horizontal": Symmetry(flip=True), "vertical": Symmetry(flip=True, quarter_turns=2)}
        found = {Symmetry(), *(generators[flip] for flip in self.flips)}
        if len(set(self.flips)) == 2:
            found.add(Symmetry(quarter_turns=2))
        if self.quarter_turns:
            found = {replace(one, quarter_turns=turns) for one in found for turns in range(4)}
        return tuple(sorted(found))

    @property
    def views(self) -> int:
        """Number of views of an image."""
        return len(self.symmetries) * max(len(self.scales), len(self.shorts), 1)
