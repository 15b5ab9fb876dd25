"""Hand-made files for the tests of readers: images, polygons, and what a reader makes of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from nucleiseg.data.layers import unpack
from nucleiseg.data.readers.base import Reader
from nucleiseg.structures import Sample

SHAPE = (24, 32)


def write_image(path: Path, shape: tuple[int, int] = SHAPE) -> Path:
    """A noisy RGB image of (H, W), the same for the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.name.encode()))
    Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(path)
    return path


def write_labels(path: Path, labels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)
    return path


def box(top: int, left: int, bottom: int, right: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def corners(top: float, left: float, bottom: float, right: float) -> list[list[float]]:
    """The corners of a box as [x, y]."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def label_map(*masks: np.ndarray, start: int = 1) -> np.ndarray:
    labels = np.zeros(masks[0].shape, np.uint16)
    for number, mask in enumerate(masks, start):
        labels[mask] = number
    return labels


def read_all(reader: Reader) -> dict[str, Sample]:
    """Every sample by its name."""
    return {record.name: reader.read(record) for record in reader.records()}


def masks_of(sample: Sample) -> list[np.ndarray]:
    return list(unpack(sample.layers, sample.layer_index))


def assert_masks(sample: Sample, expected: list[np.ndarray]) -> None:
    """The masks, in any order."""
    found = sorted(mask.tobytes() for mask in masks_of(sample))
    assert found == sorted(mask.tobytes() for mask in expected)
