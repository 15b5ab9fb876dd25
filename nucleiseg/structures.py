"""The containers that all packages exchange: `Sample`, `Target`, `Prediction`.

None of them contains an array of shape (instances, height, width). Instances lie in label-map *layers*:
integer planes of the image's size, each with instances that do not overlap one another. Most images need one
plane, however many nuclei they have:

    plane 0          plane 1              layer_index = [0, 0, 1]: nucleus 3 overlaps nucleus 1,
    0 1 1 0 2        0 0 0 0 0            so it lies on a plane of its own
    0 1 1 0 2        0 0 3 3 0
    0 0 0 0 2        0 0 3 3 0
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

Pasting = Literal["detectron2", "torchvision"]
"""Rule by which masks are pasted from their boxes into the image, see `inference.pasting`."""


EVERY_CLASS = 0
"""Label of an ignore region that holds nuclei of any class."""

NUCLEUS = "nucleus"
"""Name of the class of nuclei whose annotations name none, and of the only class of a data set."""

Color = tuple[int, int, int]
"""Red, green, blue, 0 .. 255."""


@dataclass(frozen=True)
class NucleusClass:
    """A class of nuclei as annotations give it.

    Attributes:
        name: its name.
        number: the number that the annotations call it by (COCO's category id, PanNuke's channel); None: they name it.
        color: of its outlines; None: the annotations give none.
    """

    name: str = NUCLEUS
    number: int | None = None
    color: Color | None = None


@dataclass(frozen=True)
class IgnoreRegions:
    """Regions of an image whose nuclei are not annotated one by one (COCO's `iscrowd`, vague areas, label -1).

    What lies in them is neither positive nor negative in training, and neither missed nor false in metrics.

    Attributes:
        layers: (L, H, W) uint16 or int32 planes as those of a `Sample`; region i has the value i + 1.
        layer_index: (R,) int64, the plane of each region.
        labels: (R,) int64 class of the nuclei in each, or `EVERY_CLASS`.
    """

    layers: np.ndarray
    layer_index: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def plane(self) -> np.ndarray:
        """(H, W) bool, the pixels of all regions."""
        covered: np.ndarray = (self.layers != 0).any(axis=0)
        return covered


@dataclass(frozen=True)
class Sample:
    """One image with its instances as a reader found them, in numpy, before any transform.

    Attributes:
        name: the image's name, unique in its data set (no suffix, no folder).
        image: (H, W, 3) uint8 RGB.
        layers: (L, H, W) uint16 or int32; 0 is background, instance i (counted from 0) has the value i + 1 on
            plane `layer_index[i]` and on no other. L >= 1, also where there are no instances.
        layer_index: (N,) int64, the plane of each instance.
        labels: (N,) int64 class of each instance, 1 .. number of classes (0 is the background's).
        noticed: warnings of the reader, counted by the kinds of `data.data_warnings.SENTENCES`.
        ignore: regions whose nuclei are not annotated one by one; None where there are none.
        classes: the classes of the labels 1, 2, ...; empty where all samples of the reader share its `class_names`.
        zoom: micrometers per pixel of this image over those of its data set: the factor on the scale at which it is
            shown. Not 1 only where sets of different resolution are mixed.

    Examples:
        >>> import numpy as np
        >>> layers = np.array([[[0, 1, 1], [2, 2, 0]]], np.uint16)  # two nuclei on one label-map layer
        >>> sample = Sample("a", np.zeros((2, 3, 3), np.uint8), layers, np.array([0, 0]), np.array([1, 1]))
        >>> len(sample)
        2
    """

    name: str
    image: np.ndarray
    layers: np.ndarray
    layer_index: np.ndarray
    labels: np.ndarray
    noticed: Mapping[str, int] = field(default_factory=dict)
    ignore: IgnoreRegions | None = None
    classes: tuple[NucleusClass, ...] = ()
    zoom: float = 1.0

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"{self.name}: image is {self.image.shape} {self.image.dtype}; it accepts (H, W, 3) uint8")
        if self.layers.ndim != 3 or self.layers.shape[1:] != self.image.shape[:2]:
            raise ValueError(f"{self.name}: layers {self.layers.shape} do not fit an image of {self.image.shape}")
        if len(self.layer_index) != len(self.labels):
            raise ValueError(f"{self.name}: {len(self.layer_index)} layer indices but {len(self.labels)} labels")
        if self.classes and self.labels.max(initial=0) > len(self.classes):
            raise ValueError(f"{self.name}: label {self.labels.max()} but {len(self.classes)} classes")
        if self.ignore is not None and self.ignore.layers.shape[1:] != self.image.shape[:2]:
            shapes = f"{self.ignore.layers.shape} do not fit an image of {self.image.shape}"
            raise ValueError(f"{self.name}: the layers of the ignore regions {shapes}")

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class _Tensors:
    """A container of tensors, and of other such containers, that moves as one."""

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changes: dict[str, Any] = {}
        for name in (entry.name for entry in fields(self)):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                changes[name] = function(value)
            elif isinstance(value, _Tensors):
                changes[name] = value._map(function)
        return replace(self, **changes)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the container with its tensors on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the container with its tensors in page-locked memory, for a faster copy to a GPU."""
        return self._map(lambda tensor: tensor.pin_memory())


@dataclass(frozen=True)
class AnchorSample(_Tensors):
    """The anchors of one image that a training step looks at, and what they were chosen from.

    Attributes:
        positive: (P,) int64 indices of the anchors to classify as nuclei.
        negative: (N,) int64 indices of those to classify as background.
        gt: (P,) int64 index of the instance in the image's `Target` that each positive one belongs to.
        origin: numbers that identify the anchors and the rule by which some were chosen; a network whose own differ
            samples anew.
    """

    positive: Tensor
    negative: Tensor
    gt: Tensor
    origin: Hashable


@dataclass(frozen=True)
class Target(_Tensors):
    """What the network is to find in one image tensor: the transformed instances.

    Attributes:
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels of the image tensor, tight around each instance:
            (min column, min row, max column + 1, max row + 1).
        labels: (N,) int64, 1 .. number of classes.
        layers: (L, H, W) int32 label-map planes of the image tensor's size.
        layer_index: (N,) int64, the plane of each instance.
        values: (N,) int64, the value of each instance on its plane. It is the instance's number in the source
            image (counted from 1), so it survives crops that drop other instances.
        name: the image's name.
        scale: pixels of the image tensor per pixel of the source image (height and width alike but for rounding).
        seed: seeds the network's random draws for this image (which anchors and RoIs are sampled), so that they
            depend on (run seed, step, position in the global batch) alone; None draws from torch's global state.
        anchors: the anchors drawn with that seed, where the loader has done so for the network (they belong to this
            seed, these boxes and the padding of this batch); None leaves it to the network.
        ignore: (H, W) bool, pixels of ignore regions (see `IgnoreRegions`); None where the source image has none.
    """

    boxes: Tensor
    labels: Tensor
    layers: Tensor
    layer_index: Tensor
    values: Tensor
    name: str = ""
    scale: float = 1.0
    seed: int | None = None
    anchors: AnchorSample | None = None
    ignore: Tensor | None = None

    def __post_init__(self) -> None:
        counts = {len(self.boxes), len(self.labels), len(self.layer_index), len(self.values)}
        if len(counts) != 1:
            raise ValueError(f"{self.name}: boxes, labels, layer_index and values differ in length: {counts}")

    def __len__(self) -> int:
        return len(self.labels)

    def mask(self, index: int) -> Tensor:
        """Return the (H, W) bool mask of one instance (for figures and tests; the network never asks for it).

        Examples:
            >>> layers = torch.tensor([[[0, 5, 5], [7, 7, 0]]], dtype=torch.int32)
            >>> boxes = torch.tensor([[1.0, 0.0, 3.0, 1.0], [0.0, 1.0, 2.0, 2.0]])
            >>> ones = torch.ones(2, dtype=torch.int64)
            >>> Target(boxes, ones, layers, layer_index=ones - 1, values=torch.tensor([5, 7])).mask(1).int().tolist()
            [[0, 0, 0], [1, 1, 0]]
        """
        return self.layers[self.layer_index[index]] == self.values[index]


@dataclass(frozen=True)
class Prediction:
    """The instances found in one image, masks kept inside their boxes.

    Attributes:
        boxes: (N, 4) float32 x1, y1, x2, y2 in pixels of an image of `size`.
        scores: (N,) float32 in descending order.
        labels: (N,) int64, 1 .. number of classes.
        masks: (N, M, M) float32 probabilities on a regular grid over each box. `inference.box_masks` pastes them.
        size: (height, width) of the image that the boxes refer to.
        pasting: the rule of pasting that the masks were learnt for.
        capped: whether a limit on detections was reached, so that instances may be missing.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    masks: Tensor
    size: tuple[int, int]
    pasting: Pasting = "detectron2"
    capped: bool = False

    def __post_init__(self) -> None:
        counts = {len(self.boxes), len(self.scores), len(self.labels), len(self.masks)}
        if len(counts) != 1:
            raise ValueError(f"boxes, scores, labels and masks differ in length: {counts}")

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: Tensor | slice) -> Self:
        """Return the chosen instances (an index tensor, a bool mask or a slice)."""
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            labels=self.labels[index],
            masks=self.masks[index],
        )

    def to(self, device: torch.device | str) -> Self:
        """Return the prediction with its tensors on `device`."""
        return replace(
            self,
            boxes=self.boxes.to(device),
            scores=self.scores.to(device),
            labels=self.labels.to(device),
            masks=self.masks.to(device),
        )

    def rescaled(self, size: tuple[int, int]) -> Self:
        """Return the prediction in pixels of an image of another size.

        As detectron2's `detector_postprocess`: x and y scaled separately, clipped to the image, boxes without
        area dropped with their masks.

        Args:
            size: (height, width) of the image to speak of.

        Examples:
            >>> boxes = torch.tensor([[2.0, 2.0, 6.0, 4.0]])
            >>> found = Prediction(boxes, torch.tensor([0.9]), torch.tensor([1]), torch.ones(1, 28, 28), size=(8, 8))
            >>> found.rescaled((16, 24)).boxes.tolist()
            [[6.0, 4.0, 18.0, 8.0]]
        """
        height, width = size
        factors = self.boxes.new_tensor([width / self.size[1], height / self.size[0]]).repeat(2)
        limits = self.boxes.new_tensor([width, height]).repeat(2)
        boxes = torch.minimum((self.boxes * factors).clamp(min=0), limits)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        return replace(self, boxes=boxes, size=(height, width))[kept]
