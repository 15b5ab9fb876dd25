"""Render synthetic H&E images with exact masks, for the demo and the tests.

Round, pale, granular nuclei of epithelial nests, thin ones along the fibers of the stroma and small dark lymphocytes,
alone, in clusters that touch and, now and then, one over another.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from nucleiseg.data.synthetic.nucleus import EPITHELIAL, FIBROBLAST, LYMPHOCYTE, SyntheticNucleus, make_nucleus
from nucleiseg.data.synthetic.tissue import Tissue, color, make_tissue, noise

OVERLAPPING = 0.3
"""Share of the colliding candidates that are laid over their neighbor; the others are cut off where it begins."""

CLUSTERED = 0.35
"""Share of the candidates that are put beside a nucleus that is there already."""


@dataclass(frozen=True)
class SyntheticImage:
    """A rendered image and its nuclei.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        nuclei: the nuclei, each with at least one pixel.
    """

    image: np.ndarray
    nuclei: tuple[SyntheticNucleus, ...]

    def masks(self) -> Iterator[np.ndarray]:
        """Yield the (H, W) bool mask of one nucleus after the other."""
        for nucleus in self.nuclei:
            mask = np.zeros(self.image.shape[:2], dtype=bool)
            mask[nucleus.window] = nucleus.mask
            yield mask


def render(seed: int, index: int, height: int, width: int, nuclei: int) -> SyntheticImage:
    """Render an image of H&E-stained tissue.

    The same arguments give the same image in any process.

    Args:
        seed: seeds the data set.
        index: number of the image in it.
        height: rows of the image.
        width: columns of the image.
        nuclei: how many nuclei to aim at; a crowded image may get fewer.
    """
    generator = np.random.default_rng([seed, index])
    tissue = make_tissue(generator, height, width)
    crowding = nuclei * 256**2 / (height * width)
    size = float(np.clip((50 / max(crowding, 1)) ** 0.2, 0.78, 1.15) * generator.uniform(0.93, 1.07))
    placed = _place(generator, tissue, nuclei, size)
    hematoxylin, eosin = _stain(generator, tissue, placed)
    light = color(hematoxylin, eosin)
    light = cv2.GaussianBlur(light, (0, 0), generator.uniform(0.6, 0.95))
    light += 2.0 * generator.standard_normal(light.shape, dtype=np.float32)
    return SyntheticImage(np.clip(light + 0.5, 0, 255).astype(np.uint8), tuple(placed))


def _place(generator: np.random.Generator, tissue: Tissue, wanted: int, size: float) -> list[SyntheticNucleus]:
    """Try places until there are enough nuclei, or it becomes too crowded."""
    height, width = tissue.nest.shape
    taken = np.zeros((height, width), dtype=bool)
    placed: list[SyntheticNucleus] = []
    for _ in range(50 + 12 * wanted):
        if len(placed) == wanted:
            break
        x, y = _candidate(generator, placed, height, width)
        pixel = int(y), int(x)
        if tissue.glass[pixel] > 0.4:
            continue
        if generator.random() < 0.03 + 0.75 * (tissue.immune[pixel] > 1.1):
            kind = LYMPHOCYTE
        else:
            kind = EPITHELIAL if tissue.nest[pixel] > generator.normal(-0.1, 0.25) else FIBROBLAST
        nucleus = make_nucleus(generator, kind, (x, y), size, tissue)
        fitted = _fit(generator, nucleus, taken)
        if fitted is not None:
            taken[fitted.window] |= fitted.mask
            placed.append(fitted)
    return placed


def _candidate(
    generator: np.random.Generator, placed: list[SyntheticNucleus], height: int, width: int
) -> tuple[float, float]:
    if placed and generator.random() < CLUSTERED:
        neighbor = placed[generator.integers(len(placed))]
        reach = neighbor.kind.radius[0] * generator.uniform(1.6, 2.2)
        angle = generator.uniform(0, 2 * np.pi)
        x, y = neighbor.center[0] + reach * np.cos(angle), neighbor.center[1] + reach * np.sin(angle)
        if 0 <= x < width and 0 <= y < height:
            return x, y
    return generator.uniform(0, width), generator.uniform(0, height)


def _fit(generator: np.random.Generator, nucleus: SyntheticNucleus, taken: np.ndarray) -> SyntheticNucleus | None:
    """Fit a candidate among the others: as it is, over a neighbor, cut off at it, or (None) not at all."""
    area = int(nucleus.mask.sum())
    hidden = int((taken[nucleus.window] & nucleus.mask).sum())
    if area < 12 or hidden > 0.35 * area:
        return None
    if hidden == 0 or (hidden > 0.08 * area and generator.random() < OVERLAPPING):
        return nucleus
    rest = nucleus.mask & ~taken[nucleus.window]
    parts, _ = cv2.connectedComponents(rest.astype(np.uint8), connectivity=4)
    if parts != 2:
        return None
    return replace(nucleus, mask=rest)


def _stain(
    generator: np.random.Generator, tissue: Tissue, nuclei: list[SyntheticNucleus]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the optical densities of hematoxylin and eosin, (H, W) float32 each, nuclei included."""
    height, width = tissue.nest.shape
    bare = (1 - tissue.glass) * (1 - 0.55 * _halos(generator, nuclei, height, width))
    hematoxylin, eosin = tissue.hematoxylin * bare, tissue.eosin * bare
    eosin += 0.16 * _membranes(tissue, nuclei)
    chromatin = 0.9 * noise(generator, height, width, 2.0) + 0.5 * noise(generator, height, width, 4)
    for nucleus in nuclei:
        inked, solid = _ink(generator, nucleus, chromatin[nucleus.window])
        hematoxylin[nucleus.window] += inked
        eosin[nucleus.window] *= 1 - 0.1 * solid
    return hematoxylin, eosin


def _membranes(tissue: Tissue, nuclei: list[SyntheticNucleus]) -> np.ndarray:
    """Return 0 .. 1 along the borders between neighboring cells of a nest: where the nearest nucleus changes."""
    outside = np.ones(tissue.nest.shape, dtype=np.uint8)
    for nucleus in nuclei:
        outside[nucleus.window][nucleus.mask] = 0
    distance, cell = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5)
    border = (cv2.morphologyEx(cell.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((2, 2))) > 0) & (distance > 3)
    line = cv2.GaussianBlur(border.astype(np.float32), (0, 0), 0.8)
    return line * np.clip((24 - distance) / 12, 0, 1) * np.clip(tissue.nest, 0, 1) * (1 - tissue.glass)


def _halos(generator: np.random.Generator, nuclei: list[SyntheticNucleus], height: int, width: int) -> np.ndarray:
    """Return 0 .. 1 where the cytoplasm around some nuclei has shrunk away from them."""
    canvas = np.zeros((height, width), dtype=np.uint8)
    for nucleus in nuclei:
        if generator.random() < 0.3:
            wider = nucleus.center + generator.uniform(1.15, 1.5) * (nucleus.outline - nucleus.center)
            cv2.fillPoly(canvas, [np.round(wider * 16).astype(np.int32)], 1, shift=4)
    return cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 1.6)


def _ink(
    generator: np.random.Generator, nucleus: SyntheticNucleus, chromatin: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a nucleus adds to hematoxylin in its window, and how much of each pixel it fills (0 .. 1)."""
    kind = nucleus.kind
    padded = np.pad(nucleus.mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    solid = np.minimum(depth / 1.5, 1)
    shade = 1 + kind.chromatin * chromatin + kind.rim * np.exp(-(((depth - 1.5) / 1.1) ** 2))
    y, x = np.mgrid[nucleus.window]
    for _ in range(generator.integers(kind.nucleoli + 1)):
        spot = np.array(nucleus.center) + generator.normal(0, 0.22 * kind.radius[0], 2)
        shade += 0.9 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * generator.uniform(1.0, 1.5) ** 2))
    density = generator.uniform(*kind.density)
    return (density * np.clip(shade, 0.25, 2.2) * solid).astype(np.float32), solid
