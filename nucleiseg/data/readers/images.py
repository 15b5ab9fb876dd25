"""Decode any image file to 8-bit RGB."""

from pathlib import Path

import numpy as np

from nucleiseg.data.readers.pixels import decode_pixels
from nucleiseg.errors import InputError

CAMERA_DEPTHS = (8, 10, 12, 14, 16)
"""Bits a pixel that microscope cameras deliver, stored in 16 (`settings.Bits`)."""

MOST_NEGATIVE = 0.01
"""Share of pixels below 0 that are cut to black; more of them mean that the values are normalized, not counts."""

OUTLIER = 16
"""A brightest value this many times the 99.9th percentile would turn all others nearly black: 4 of 8 bits are lost."""


def decode_image(path: Path, bits: int | None = None) -> np.ndarray:
    """Decode an image file to what the network sees.

    Gray becomes three equal channels, palettes become colors, alpha is dropped and the EXIF orientation applied,
    as detectron2 does. Deeper images are brought to 8 bit by `to_eight_bits`. Of a pyramid, the first page counts.

    Args:
        path: a file of any format that Pillow or tifffile opens.
        bits: the camera's bits a pixel, see `to_eight_bits`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: if the file cannot be decoded (see `pixels.decode_pixels`), is brighter than `bits` allow, or
            holds values of no known scale.
    """
    values = decode_pixels(path).values
    assert values is not None
    return to_rgb(values, path, bits)


def to_rgb(values: np.ndarray, path: Path, bits: int | None = None) -> np.ndarray:
    """Bring decoded pixels to 8-bit RGB.

    Args:
        values: (H, W), or (H, W, 3 or 4), of any depth.
        path: what errors call the image.
        bits: the camera's bits a pixel, see `to_eight_bits`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: if the image is brighter than `bits` allow, or its values have no known scale.
    """
    if values.ndim == 3:
        values = values[:, :, :3]  # before the depth is looked for: an opaque alpha is 65535 whatever the camera
    if values.dtype.kind in "if" and (problem := _scale_problem(values, bits)):
        raise InputError(f"{path} {problem}.")
    try:
        levels = to_eight_bits(values, bits)
    except ValueError as error:
        raise InputError(f"{path} cannot be used: {error}; raise bits, or leave it null.") from error
    return np.repeat(levels[:, :, None], 3, axis=2) if levels.ndim == 2 else np.ascontiguousarray(levels)


def _scale_problem(values: np.ndarray, bits: int | None) -> str | None:
    """Return why signed or floating-point values cannot be brought to 8 bit without a guess."""
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return "holds no finite value: replace the file, or remove it"
    negative = float((finite < 0).mean())
    if negative > MOST_NEGATIVE:
        return (
            f"holds values from {finite.min():g} to {finite.max():g}, {negative:.0%} of them below 0 (it may be "
            "normalized): save it with black as 0"
        )
    if values.dtype.kind == "f":
        peak, most = float(finite.max()), float(np.percentile(finite, 99.9))
        shares = peak > 1 >= most > 0 and finite.size >= 1000  # 0 to 1 for all but a thousandth
        if shares or (bits is None and peak > 255 and peak > OUTLIER * max(most, 1)):
            return (
                f"holds floating-point values up to {peak:g}, but 99.9 % of them are at most {most:g}, so that a few "
                "outliers would turn all others black: clip them, or save the image in 8 or 16 bits"
            )
    return None


def to_eight_bits(pixels: np.ndarray, bits: int | None = None) -> np.ndarray:
    """Bring pixels of any depth to uint8, keeping the darkest value at 0.

    Sixteen-bit files seldom use sixteen bits: most cameras deliver 10, 12 or 14, which the usual division by 256
    would turn nearly black. So, unless it is given, the depth is the smallest of `CAMERA_DEPTHS` that holds the
    image's brightest value, and the 8 highest bits of it are kept (an image without values over 255 stays as it is;
    beyond 16 bits, the depth is what the brightest value needs). Floating-point images up to 1 are read as shares of
    white, others as counts; NaN and infinities become black.

    Args:
        pixels: an array of any shape, bool, integer or floating point; values below 0 count as 0.
        bits: the camera's bits a pixel (8 to 16), so that all its images are brought to 8 bit alike; None: by each
            image's own brightest value. Without effect on pixels that have 8 bits already.

    Returns:
        uint8 array of the same shape.

    Raises:
        ValueError: if a pixel has more than `bits` bits.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0)
        pixels = np.rint(pixels * 255 if pixels.max(initial=0) <= 1 else np.minimum(pixels, 2**32))
    counts = np.clip(pixels, 0, None).astype(np.int64)
    brightest = int(counts.max(initial=0))
    needed = brightest.bit_length()
    if bits is not None and needed > bits:
        raise ValueError(f"its brightest value is {brightest:,}, and {bits} bits end at {2**bits - 1:,}")
    depth = bits or next((depth for depth in CAMERA_DEPTHS if depth >= needed), needed)
    return (counts >> (depth - 8)).astype(np.uint8)
