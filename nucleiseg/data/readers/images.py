"""Decoding any image file to 8-bit RGB, and any mask file to bool."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from nucleiseg.errors import InputError

CAMERA_DEPTHS = (8, 10, 12, 14, 16)
"""Bits a pixel that microscope cameras deliver, stored in 16."""

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""The TIFF tag PhotometricInterpretation, and its value for inverted grey levels (TIFF 6.0, section 4)."""


def decode_image(path: Path, bits: int | None = None) -> np.ndarray:
    """Decode an image file to what the network sees.

    Grey becomes three equal channels, palettes become colours, alpha is dropped and the EXIF orientation applied,
    as detectron2 does. Deeper images are brought to 8 bit by `to_eight_bits`. Of a pyramid, the first page counts.

    Args:
        path: a file of any format that Pillow opens.
        bits: the camera's bits a pixel, see `to_eight_bits`.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: if the file is missing, damaged, truncated, no image, a stack, or brighter than `bits` allow.
    """
    pixels = _decode(path)
    if pixels.ndim == 3:
        pixels = pixels[:, :, :3]  # before the depth is looked for: an opaque alpha is 65535 whatever the camera
    try:
        levels = to_eight_bits(pixels, bits)
    except ValueError as error:
        raise InputError(f"{path} cannot be used: {error}; raise data.bits, or set it to null.") from error
    return np.repeat(levels[:, :, None], 3, axis=2) if levels.ndim == 2 else np.ascontiguousarray(levels)


def decode_mask(path: Path) -> np.ndarray:
    """Decode a mask file: every pixel that is neither black nor fully transparent belongs to the instance.

    Whatever tools write is taken: 0 and 255, 0 and 1, 1 bit, 16 bit, three channels, alpha, palettes (by colour,
    since which index is the background differs).

    Args:
        path: a file of any format that Pillow opens.

    Returns:
        (H, W) bool.

    Raises:
        InputError: if the file is missing, damaged, truncated, no image or a stack.
    """
    pixels = _decode(path)
    if pixels.ndim == 2:
        return pixels != 0
    shown = np.asarray(pixels[:, :, :3].any(axis=2))
    if pixels.shape[2] == 4:
        shown &= pixels[:, :, 3] != 0
    return shown


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


def _decode(path: Path) -> np.ndarray:
    """Decode to (H, W) of any depth, or to (H, W, 3 or 4) RGB or RGBA of 8 or 16 bits."""
    try:
        data = path.read_bytes()
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # where another library set it, truncated files would become grey
        Image.open(io.BytesIO(data)).verify()  # the checksums of a PNG, which decoding does not look at
        image = Image.open(io.BytesIO(data))
        if problem := _find_problem(image):
            raise InputError(f"{path} {problem}.")
        deep = _is_deep_colour(image)  # known before the pixels are loaded
        image.load()
        return _deep_colour(data) if deep else _to_array(ImageOps.exif_transpose(image))
    except (MemoryError, InputError):
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise InputError(
            f"{path} cannot be read as an image ({_reason(error)}): replace the file by a whole one or remove it."
        ) from error


def _find_problem(image: Image.Image) -> str | None:
    """Say why a whole file would be read wrongly; the image must not be loaded yet."""
    pages, size = getattr(image, "n_frames", 1), image.size
    if pages > 1:
        image.seek(1)
        second = image.size
        image.seek(0)
        if second == size:  # the pages of a pyramid shrink
            return f"is a stack of {pages} pages: save the one to be used, or a projection, as a file of its own"
    white_is_zero = isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO
    if white_is_zero and image.mode not in ("1", "L"):  # Pillow turns these around, but not deeper ones
        return f"stores white as 0 in a depth of more than 8 bits (mode {image.mode}): save it with black as 0"
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):  # its text names a buffer in memory
        return "of no known format"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def _to_array(image: Image.Image) -> np.ndarray:
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _is_deep_colour(image: Image.Image) -> bool:
    """Tell whether a colour file has 16 bits a channel, of which Pillow keeps the upper 8."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return image.mode in ("RGB", "RGBA") and any(";16" in str(tile[3]) for tile in tiles)


def _deep_colour(data: bytes) -> np.ndarray:
    """Decode colour of 16 bits a channel with OpenCV (blue first there; such files carry no EXIF orientation)."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise OSError("OpenCV cannot decode its 16-bit colours")
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
