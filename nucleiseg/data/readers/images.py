"""Decoding any image file to 8-bit RGB, and any mask file to bool."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps

from nucleiseg.errors import InputError

CAMERA_DEPTHS = (8, 10, 12, 14, 16)
"""Bits a pixel that microscope cameras deliver, stored in 16."""


def decode_image(path: Path) -> np.ndarray:
    """Decode an image file to what the network sees.

    Grey becomes three equal channels, palettes become colours, alpha is dropped and the EXIF orientation applied,
    as detectron2 does. Deeper images are brought to 8 bit by `to_eight_bits`. Of a file with several pages, the
    first counts.

    Args:
        path: a file of any format that Pillow opens.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: if the file is missing, damaged, truncated or no image.
    """
    pixels = _decode(path)
    if pixels.ndim == 2:
        return np.repeat(to_eight_bits(pixels)[:, :, None], 3, axis=2)
    return np.ascontiguousarray(to_eight_bits(pixels[:, :, :3]))  # alpha is as deep as the file, and may be 65535


def decode_mask(path: Path) -> np.ndarray:
    """Decode a mask file: every pixel that is neither black nor fully transparent belongs to the instance.

    Whatever tools write is taken: 0 and 255, 0 and 1, 1 bit, 16 bit, three channels, alpha, palettes (by colour,
    since which index is the background differs).

    Args:
        path: a file of any format that Pillow opens.

    Returns:
        (H, W) bool.

    Raises:
        InputError: if the file is missing, damaged, truncated or no image.
    """
    pixels = _decode(path)
    if pixels.ndim == 2:
        return pixels != 0
    shown = np.asarray(pixels[:, :, :3].any(axis=2))
    if pixels.shape[2] == 4:
        shown &= pixels[:, :, 3] != 0
    return shown


def to_eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Bring pixels of any depth to uint8, keeping the darkest value at 0.

    Sixteen-bit files seldom use sixteen bits: most cameras deliver 10, 12 or 14, which the usual division by 256
    would turn nearly black. So the depth is the smallest of `CAMERA_DEPTHS` that holds the image's brightest
    value, and the 8 highest bits of it are kept (an image without values over 255 stays as it is; beyond 16 bits,
    the depth is what the brightest value needs). Floating-point images up to 1 are read as shares of white, others
    as counts; NaN and infinities become black.

    Args:
        pixels: an array of any shape, bool, integer or floating point; values below 0 count as 0.

    Returns:
        uint8 array of the same shape.
    """
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * 255
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = np.nan_to_num(pixels.astype(np.float64), posinf=0, neginf=0)
        pixels = np.rint(pixels * 255 if pixels.max(initial=0) <= 1 else np.minimum(pixels, 2**32))
    counts = np.clip(pixels, 0, None).astype(np.int64)
    needed = int(counts.max(initial=0)).bit_length()
    depth = next((depth for depth in CAMERA_DEPTHS if depth >= needed), needed)
    return (counts >> (depth - 8)).astype(np.uint8)


def _decode(path: Path) -> np.ndarray:
    """Decode to (H, W) of any depth, or to (H, W, 3 or 4) RGB or RGBA of 8 or 16 bits."""
    try:
        data = path.read_bytes()
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # where another library set it, truncated files would become grey
        Image.open(io.BytesIO(data)).verify()  # the checksums of a PNG, which decoding does not look at
        image = Image.open(io.BytesIO(data))
        deep = _is_deep_colour(image)  # known before the pixels are loaded
        image.load()
        return _deep_colour(data) if deep else _to_array(ImageOps.exif_transpose(image))
    except MemoryError:
        raise
    except Exception as error:  # damaged files make Pillow's decoders raise OSError, SyntaxError, struct.error, ...
        raise InputError(
            f"{path} cannot be read as an image ({_reason(error)}): replace the file by a whole one or remove it."
        ) from error


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
