"""Synthetic tissue under the nuclei: nests of cells, fibrous stroma between them, white clefts, stains.

Everything is kept as optical density, in which stains add up; `color` turns it into light. Lengths are in pixels of
a scan at 40x (about 0.25 micrometres a pixel), as in the public nuclei data sets.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

HEMATOXYLIN = np.array([0.5626, 0.7201, 0.4062], dtype=np.float32)
EOSIN = np.array([0.2159, 0.8012, 0.5581], dtype=np.float32)
"""Optical density in R, G, B of one unit of each stain: the reference vectors of Macenko et al. 2009 (ISBI)."""

WHITE = 243.0
"""What the scanner makes of empty glass."""


@dataclass
class Tissue:
    """A piece of tissue, (H, W) float32 each.

    Attributes:
        nest: about -1 .. 1; positive inside nests of epithelial cells, negative in the stroma between them.
        glass: 0 .. 1, how much of the tissue is missing (clefts, lumina).
        immune: about -2 .. 2; lymphocytes gather where it is high.
        hematoxylin: optical density of the nuclear stain.
        eosin: optical density of the counterstain.
        fiber_angle: main direction of the stroma's fibers in radians.
    """

    nest: np.ndarray
    glass: np.ndarray
    immune: np.ndarray
    hematoxylin: np.ndarray
    eosin: np.ndarray
    fiber_angle: float


def noise(generator: np.random.Generator, height: int, width: int, wavelength: float) -> np.ndarray:
    """Return smooth noise, (H, W) float32 of mean about 0 and standard deviation about 1.

    A coarse grid of normal numbers, enlarged by cubic interpolation; `wavelength` is the distance of its nodes in
    pixels.
    """
    rows, columns = (int(np.ceil(side / wavelength)) + 3 for side in (height, width))
    grid = generator.standard_normal((rows, columns), dtype=np.float32)
    size = (int(np.ceil(columns * wavelength)), int(np.ceil(rows * wavelength)))
    large = cv2.resize(grid, size, interpolation=cv2.INTER_CUBIC)
    offset = int(wavelength)
    return 1.4 * large[offset : offset + height, offset : offset + width]


def make_tissue(generator: np.random.Generator, height: int, width: int) -> Tissue:
    """Render a piece of tissue without nuclei."""
    nest = noise(generator, height, width, generator.uniform(55, 90)) + generator.uniform(-0.3, 0.7)
    nest += 0.12 * noise(generator, height, width, 9)
    nest = np.tanh(2.5 * nest)
    angle = float(generator.uniform(0, np.pi))
    fiber = _fibers(generator, height, width, angle)
    granular = 0.8 * noise(generator, height, width, 1.7) + 0.5 * noise(generator, height, width, 4.5)
    immune = noise(generator, height, width, 60)
    inside = 0.5 + 0.5 * nest
    strength = generator.uniform(0.75, 1.2)
    cytoplasm = 0.46 + 0.06 * granular + 0.05 * noise(generator, height, width, 22)
    stroma = 0.50 + 0.16 * fiber + 0.03 * granular
    eosin = strength * (inside * cytoplasm + (1 - inside) * stroma) * (1 + 0.12 * noise(generator, height, width, 70))
    bluish = generator.uniform(0.10, 0.24)
    hematoxylin = inside * (bluish + 0.035 * granular) + (1 - inside) * (0.05 + 0.02 * fiber)
    glass = _glass(generator, nest, fiber)
    eosin = np.maximum(eosin, 0.04) + 0.10 * strength * _edge(glass)
    return Tissue(nest, glass, immune, np.maximum(hematoxylin, 0.01), eosin, angle)


def _fibers(generator: np.random.Generator, height: int, width: int, angle: float) -> np.ndarray:
    """Wavy strands: noise stretched along `angle`, looked up at warped coordinates."""
    side = int(1.6 * max(height, width)) + 80
    strands = np.zeros((side, side), np.float32)
    for across, along, weight in ((2.2, 28, 0.6), (5.5, 60, 0.8)):
        small = noise(generator, side, int(side * across / along) + 1, across)
        strands += weight * cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x += 9 * noise(generator, height, width, 45) - width / 2
    y += 9 * noise(generator, height, width, 45) - height / 2
    u = math.cos(angle) * x + math.sin(angle) * y + side / 2
    v = -math.sin(angle) * x + math.cos(angle) * y + side / 2
    return cv2.remap(strands, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _glass(generator: np.random.Generator, nest: np.ndarray, fiber: np.ndarray) -> np.ndarray:
    """White clefts along the border of nests, lumina inside a few, and small gaps between fibers."""
    height, width = nest.shape
    cleft = np.exp(-(((nest + 0.35) / 0.30) ** 2)) * (noise(generator, height, width, 35) > 0.1)
    lumen = noise(generator, height, width, 32) - generator.uniform(1.7, 2.6)
    gaps = -fiber - 1.2 - 2 * np.clip(nest + 0.6, 0, 1)
    rough = 0.25 * noise(generator, height, width, 4)
    opening = np.maximum.reduce([3 * (cleft - 0.55), 3 * lumen, 1.2 * gaps]) + rough
    return cv2.GaussianBlur(np.clip(2 * opening, 0, 1).astype(np.float32), (0, 0), 1.0)


def _edge(glass: np.ndarray) -> np.ndarray:
    """Tissue is a little denser along its free edge."""
    return np.clip(2 * cv2.GaussianBlur(glass, (0, 0), 2.5), 0, 1) * (1 - glass)


def color(hematoxylin: np.ndarray, eosin: np.ndarray) -> np.ndarray:
    """Return the light through two stains by Beer and Lambert's law, (H, W, 3) float32 RGB in 0 .. 255."""
    density = hematoxylin[..., None] * HEMATOXYLIN + eosin[..., None] * EOSIN
    return (WHITE * np.exp(-density)).astype(np.float32)
