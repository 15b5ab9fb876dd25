"""Measure the mean optical density of hematoxylin and eosin in nuclei by color deconvolution.

Ruifrok and Johnston (2001), "Quantification of histochemical staining by color deconvolution", Anal Quant Cytol Histol
23:291-299. The optical density of a channel is -log10(value / 255), of value 0 that of 1; densities of stains are those
of the channels times the inverse of the matrix of stain vectors.
scikit-image's `rgb2hed` has the same vectors, but does not scale them to unit length (a difference of 0.2 %), divides
by 6 (its logarithms have the base 10^-6) and sets negative densities to 0. For example:

    mean_stains(pixels, nucleus.crop)      # Stains(hematoxylin=0.62, eosin=0.18)
"""

from typing import NamedTuple

import numpy as np

from nucleiseg.rle import Crop

VECTORS = np.array([(0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78)])
"""Optical density of red, green and blue of hematoxylin, eosin and DAB (Ruifrok and Johnston 2001, table 1)."""

UNMIX = np.linalg.inv(VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True))

DENSITY = -np.log10(np.maximum(np.arange(256), 1) / 255)
"""Optical density of each value of a channel."""

SAMPLED = 250
"""Rows and columns of pixels, at most, by which an image is recognized as stained."""

STAINED = 0.05
"""Mean optical density of the channels above which a pixel shows tissue."""

EXCESS = 1.04
"""Both stains absorb green most, eosin far and hematoxylin 1.08 times as much as red. Least ratio of the tissue's mean
density of green to those of red and blue: gray images have 1, DAB and fluorescence less."""

DARKEST = 64
"""Least median of the brightest channel: the field is bright, unlike that of fluorescence."""


class Stains(NamedTuple):
    """Mean optical densities of the pixels of a nucleus; slightly negative where the other stains explain the color."""

    hematoxylin: float
    eosin: float


def is_hematoxylin_eosin(pixels: np.ndarray) -> bool:
    """Return whether an image looks stained with hematoxylin and eosin, by its colors.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    step = max(-(-max(pixels.shape[:2]) // SAMPLED), 1)
    sampled = pixels[::step, ::step].reshape(-1, 3)
    densities = DENSITY[sampled]
    tissue = densities[densities.mean(axis=1) > STAINED]
    if len(tissue) == 0 or np.median(sampled.max(axis=1)) < DARKEST:
        return False
    red, green, blue = tissue.mean(axis=0)
    return bool(green > EXCESS * max(red, blue))


def mean_stains(pixels: np.ndarray, crop: Crop) -> Stains:
    """Return the mean densities of a nucleus.

    Args:
        pixels: (H, W, 3) uint8 RGB, its image.
        crop: its pixels, at least one.
    """
    hematoxylin, eosin, _ = DENSITY[pixels[crop.window][crop.mask]].mean(axis=0) @ UNMIX
    return Stains(float(hematoxylin), float(eosin))
