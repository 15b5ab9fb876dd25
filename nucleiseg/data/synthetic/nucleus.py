"""Shapes of synthetic nuclei: three kinds, outlines with random waves, and the pixels inside an outline."""

from dataclasses import dataclass

import cv2
import numpy as np

from nucleiseg.data.synthetic.tissue import Tissue


@dataclass(frozen=True)
class Kind:
    """How nuclei of one kind look.

    Attributes:
        radius: mean radius in pixels (of a circle of the same area) and its spread, as a share.
        aspect: range of length over width.
        roughness: amplitude of the outline's waves, as a share of the radius.
        density: range of the optical density of hematoxylin.
        chromatin: contrast of the texture inside.
        rim: how much darker the membrane is.
        nucleoli: most nucleoli one has.
    """

    radius: tuple[float, float]
    aspect: tuple[float, float]
    roughness: float
    density: tuple[float, float]
    chromatin: float
    rim: float
    nucleoli: int


EPITHELIAL = Kind((9.5, 0.16), (1.0, 1.45), 0.035, (0.50, 1.00), 0.42, 0.60, 2)
FIBROBLAST = Kind((6.8, 0.18), (2.0, 3.4), 0.05, (0.75, 1.25), 0.30, 0.30, 0)
LYMPHOCYTE = Kind((5.6, 0.12), (1.0, 1.25), 0.045, (1.25, 1.75), 0.22, 0.10, 0)


@dataclass(frozen=True)
class SyntheticNucleus:
    """The outline of one nucleus, and what it covers.

    Attributes:
        kind: how it looks.
        center: (x, y) in pixels.
        outline: (P, 2) float64 x, y of its polygon.
        row, column: where `mask` lies in the image.
        mask: (h, w) bool, inside the image.
    """

    kind: Kind
    center: tuple[float, float]
    outline: np.ndarray
    row: int
    column: int
    mask: np.ndarray

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the image that `mask` covers."""
        return (
            slice(self.row, self.row + self.mask.shape[0]),
            slice(self.column, self.column + self.mask.shape[1]),
        )


def make_nucleus(
    generator: np.random.Generator, kind: Kind, center: tuple[float, float], size: float, tissue: Tissue
) -> SyntheticNucleus:
    """Sample an ellipse whose radius is modulated by a few random waves (a radial Fourier series).

    Args:
        generator: of the random numbers.
        kind: what the nucleus is to look like; fibroblasts lie along the fibers.
        center: (x, y) in pixels, inside the image.
        size: factor on the kind's radius.
        tissue: gives the image's size and the direction of the fibers.
    """
    radius = size * kind.radius[0] * np.exp(generator.normal(0, kind.radius[1]))
    aspect = generator.uniform(*kind.aspect)
    turn = tissue.fiber_angle + generator.normal(0, 0.3) if kind is FIBROBLAST else generator.uniform(0, np.pi)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    waves = np.arange(2, 6)[:, None]
    amplitude = generator.normal(0, kind.roughness, (4, 1)) * (2 / waves) ** 0.7
    modulation = 1 + (amplitude * np.cos(waves * angle + generator.uniform(0, 2 * np.pi, (4, 1)))).sum(axis=0)
    x = radius * np.sqrt(aspect) * modulation * np.cos(angle)
    y = radius / np.sqrt(aspect) * modulation * np.sin(angle)
    outline = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], axis=1) + center
    height, width = tissue.nest.shape
    row, column, mask = fill(outline, height, width)
    return SyntheticNucleus(kind, center, outline, row, column, mask)


def fill(outline: np.ndarray, height: int, width: int) -> tuple[int, int, np.ndarray]:
    """Return the pixels of a polygon inside an image as (row, column, mask of its window).

    Args:
        outline: (P, 2) x, y in pixels, pixel centers at whole numbers.
        height: rows of the image.
        width: columns of the image.
    """
    left, top = np.clip(np.floor(outline.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(outline.max(axis=0)).astype(int) + 1, (left + 1, top + 1), (width, height))
    canvas = np.zeros((bottom - top, right - left), dtype=np.uint8)
    points = np.round((outline - (left, top)) * 16).astype(np.int32)
    cv2.fillPoly(canvas, [points], 1, shift=4)
    return int(top), int(left), canvas.astype(bool)
