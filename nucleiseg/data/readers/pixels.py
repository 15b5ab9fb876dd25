"""Decode one file to an array of its own depth, upright, or refuse it with a sentence."""

import io
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageFile

from nucleiseg.errors import InputError
from nucleiseg.files import require_regular_file
from nucleiseg.foreign_files import MOST_PIXELS

MOST_BYTES = 2**31
"""Size of the largest file that is read: 16-bit RGBA of `MOST_PIXELS`, uncompressed, has 1.4 GB."""

ORIENTATION = 274
"""The EXIF and TIFF tag that says how the stored rows and columns lie in the upright picture."""

MIRRORED = (2, 4, 5, 7)
QUARTER_TURNS = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}
"""EXIF orientations as a mirroring of the columns, then turns by 90 degrees counterclockwise (EXIF 2.3, tag 274)."""

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF and BigTIFF files."""

MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
"""Values of the TIFF tag PhotometricInterpretation (TIFF 6.0, section 4 and 6)."""

PILLOW_GRAY = {("u", 16), ("i", 16), ("i", 32), ("u", 32), ("f", 32)}
"""Kind and bits of gray TIFF files that Pillow decodes rightly: for compressions that tifffile alone cannot read."""

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MOST_PIXELS is the limit here
logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong becomes a sentence


@dataclass(frozen=True)
class Pixels:
    """The content of an image file.

    Attributes:
        values: (H, W) of any depth, or (H, W, 3 or 4) RGB or RGBA, upright; None where the file was not decoded
            because its size is not the expected one.
        shape: (H, W).
        orientation: the EXIF orientation (1 to 8) that was applied; 1 leaves the picture as it is stored.
    """

    values: np.ndarray | None
    shape: tuple[int, int]
    orientation: int = 1


def decode_pixels(path: Path, area: int | None = None) -> Pixels:
    """Decode a file of any format that Pillow or tifffile opens, whatever its suffix.

    The EXIF orientation is applied. Of a pyramid, the first page counts.

    Args:
        path: a regular file.
        area: number of pixels that the file should have; a file of another size is not decoded.

    Raises:
        InputError: if the file is missing, not a regular file, damaged, truncated, of no known format, too large, a
            stack of pages, or has channels or a depth whose meaning is not known.
    """
    if require_regular_file(path) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES / 1e9:.1f} GB, which are not read at once: {_CUT}.")
    try:
        data = path.read_bytes()
        pixels = _decode_tiff(data, path, area) if data[:4] in TIFF_MAGIC else None
        return pixels or _decode_with_pillow(data, path, area)
    except (MemoryError, InputError):
        raise
    except Image.DecompressionBombError as error:
        raise InputError(_too_large(path)) from error
    except Exception as error:  # damaged files make decoders raise OSError, SyntaxError, struct.error, zlib.error, ...
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        if isinstance(error, Image.UnidentifiedImageError):  # its text names a buffer in memory
            reason = "of no known format"
        raise InputError(
            f"{path} cannot be read as an image ({reason}): replace the file by a whole one or remove it."
        ) from error


_CUT = "it may be whole, but cut it into tiles (of 1,000 to 4,000 pixels a side, say) and give those"


def _too_large(path: Path, size: tuple[int, int] | None = None) -> str:
    found = f"has {size[0]:,} x {size[1]:,} pixels" if size else "is too large"
    return f"{path} {found}, more than the {MOST_PIXELS:,} pixels that are read at once: {_CUT}."


def _require_area(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise InputError(_too_large(path, (width, height)))


def _decode_with_pillow(data: bytes, path: Path, area: int | None) -> Pixels:
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # where another library set it, truncated files would become gray
    Image.open(io.BytesIO(data)).verify()  # the checksums of a PNG, which decoding does not look at
    image = Image.open(io.BytesIO(data))
    _require_area(path, *image.size)
    if image.format != "TIFF" and (pages := _same_size_pages(image)) > 1:
        raise InputError(
            f"{path} is a stack of {pages} pages: save the one to be used, or a projection, as a file of its own."
        )
    if area is not None and image.width * image.height != area:
        return Pixels(None, (image.height, image.width))
    # 16 bits a channel, of which Pillow keeps the upper 8; known before the pixels are loaded
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    deep = image.mode in ("RGB", "RGBA") and any(";16" in str(tile[3]) for tile in tiles)
    orientation = _valid_orientation(image.getexif().get(ORIENTATION))
    is_tiff = image.format == "TIFF"
    if deep and is_tiff and orientation != 1:
        raise InputError(f"{path} has 16-bit colors and an orientation tag: save it upright, without the tag.")
    image.load()
    if deep:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise OSError("OpenCV cannot decode its 16-bit colors")
        values = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    elif image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
    else:
        values = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    if not is_tiff:  # Pillow turns TIFF files upright as it loads them
        values = upright(values, orientation)
    return Pixels(values, values.shape[:2], orientation)


def _decode_tiff(data: bytes, path: Path, area: int | None) -> Pixels | None:
    """Decode what Pillow reads wrongly or not at all; None for ordinary files, which are Pillow's.

    Pillow takes planar 16-bit colors, signed 8-bit and two-channel files for something else in silence.
    """
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert isinstance(page, tifffile.TiffPage)
        _require_area(path, page.imagewidth, page.imagelength)
        if problem := _tiff_problem(file, page):
            raise InputError(f"{path} {problem}.")
        if area is not None and page.imagewidth * page.imagelength != area:
            return Pixels(None, (page.imagelength, page.imagewidth))
        kind = page.dtype.kind if page.dtype is not None else "u"  # depths such as 12 bits have no dtype
        single = page.samplesperpixel == 1
        planar = page.planarconfig == 2 and not single
        if page.photometric not in (MIN_IS_BLACK, RGB) or (kind in "ub" and page.bitspersample <= 8 and not planar):
            return None
        tag = page.tags.get(ORIENTATION)
        orientation = _valid_orientation(tag.value if tag else None)
        try:
            values = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            if (page.bitspersample < 16 and not planar) or (single and (kind, page.bitspersample) in PILLOW_GRAY):
                # Pillow reads unsigned 32-bit values as signed ones
                pixels = _decode_with_pillow(data, path, area)
                if (kind, page.bitspersample) == ("u", 32) and pixels.values is not None:
                    return Pixels(pixels.values.view(np.uint32), pixels.shape, pixels.orientation)
                return pixels
            if kind == "u" and not single and not planar:
                return None
            compression = getattr(page.compression, "name", page.compression)
            raise InputError(
                f"{path} has the compression {compression} with {page.bitspersample} bits a channel, which cannot be "
                "read here: save it uncompressed or with deflate (zip)."
            ) from error
    values = np.moveaxis(values, 0, 2) if planar else values
    values = np.ascontiguousarray(upright(values.astype(values.dtype.newbyteorder("="), copy=False), orientation))
    if values.ndim == 3 and values.shape[2] == 2:  # gray and alpha
        values = values[:, :, [0, 0, 0, 1]]
    return Pixels(values, values.shape[:2], orientation)


def _tiff_problem(file: tifffile.TiffFile, first: tifffile.TiffPage) -> str | None:
    """Return why a whole TIFF file would be read wrongly."""
    size = first.imagelength, first.imagewidth
    sizes = [(own.imagelength, own.imagewidth) for page in file.pages[1:] if (own := page.keyframe) is not None]
    count = len(file.pages)
    if len(file.pages) == 1 and file.is_imagej:  # ImageJ keeps large stacks behind a single page
        count = int((file.imagej_metadata or {}).get("images", 1))
    if size in sizes or (count > 1 and not sizes):
        return f"is a stack of {count} pages: save the one to be used, or a projection, as a file of its own"
    if any(height * width > size[0] * size[1] for height, width in sizes):  # the pages of a pyramid shrink
        return "begins with a page smaller than a later one: save the one to be used as a file of its own"
    if first.photometric == MIN_IS_WHITE and first.bitspersample not in (1, 8):  # Pillow turns these around
        return "stores white as 0 in a depth of more than 8 bits: save it with black as 0"
    if first.dtype is not None and first.dtype.kind == "c":
        return "holds complex numbers: save their magnitude"
    alpha = len(first.extrasamples) == 1 and first.extrasamples[0] in (1, 2)  # associated or unassociated alpha
    channels = first.samplesperpixel
    if first.photometric == MIN_IS_BLACK and channels > 1 and not (channels == 2 and alpha):
        return f"has {channels} channels that are not declared as colors: save the one that shows the nuclei, or RGB"
    if first.photometric == RGB and channels not in (3, 4):
        return f"has {channels} channels: save it as RGB"
    return None


def _same_size_pages(image: Image.Image) -> int:
    """Return the number of pages of an animation or stack; 1 where the second is of another size."""
    pages, size = getattr(image, "n_frames", 1), image.size
    if pages > 1:
        image.seek(1)
        second = image.size
        image.seek(0)
        return pages if second == size else 1
    return 1


def _valid_orientation(value: object) -> int:
    """Return an orientation tag's value; values that the standard does not know mean nothing."""
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels as the EXIF orientation says (EXIF 2.3, tag 274).

    Args:
        values: (H, W, ...) as stored.
        orientation: 1 to 8.

    Returns:
        The upright picture; (W, H, ...) from 5 on.
    """
    if orientation in MIRRORED:
        values = values[:, ::-1]
    return np.ascontiguousarray(np.rot90(values, QUARTER_TURNS.get(orientation, 0)))
