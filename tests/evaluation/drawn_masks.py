"""What the tests of this room draw: masks, label maps, and images with truth and results."""

import numpy as np
from pycocotools import mask as coco_mask

from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.rle import RLE


def encode(mask: np.ndarray) -> RLE:
    """Encode a (H, W) mask by pycocotools."""
    encoded = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return RLE(size=list(mask.shape), counts=encoded["counts"].decode())


def rectangle(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = (20, 30)) -> RLE:
    mask = np.zeros(size, dtype=bool)
    mask[top:bottom, left:right] = True
    return encode(mask)


def random_label_map(generator: np.random.Generator, instances: int, size: int = 48) -> np.ndarray:
    """Discs of random places and radii, later ones over earlier ones; labels with gaps, in random order."""
    label_map = np.zeros((size, size), np.int32)
    rows, columns = np.mgrid[:size, :size]
    labels = generator.permutation(3 * instances)[:instances] + 1
    for label in labels:
        row, column = generator.uniform(0, size, 2)
        radius = generator.uniform(2, 7)
        label_map[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = label
    return label_map


def disturbed(generator: np.random.Generator, label_map: np.ndarray, instances: int) -> np.ndarray:
    """The label map shifted by some pixels, with some instances lost and others drawn over it."""
    shifted = np.roll(label_map, generator.integers(-2, 3, 2), (0, 1))
    lost = generator.permutation(np.unique(shifted))[: instances // 4]
    shifted[np.isin(shifted, lost)] = 0
    extra = random_label_map(generator, instances // 3, len(label_map))
    return np.where(extra > 0, extra + label_map.max() + 1, shifted)


def image(name: str, masks: list[RLE], image_id: int = 1, size: tuple[int, int] = (20, 30)) -> ImageTruth:
    return ImageTruth(name=name, image_id=image_id, height=size[0], width=size[1], masks=masks, labels=[1] * len(masks))


def found(masks: list[RLE], scores: list[float]) -> Instances:
    return Instances(masks, scores, [1] * len(masks))
