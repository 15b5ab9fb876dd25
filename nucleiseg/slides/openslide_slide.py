"""Read the files of slide scanners (Aperio, Hamamatsu, 3DHISTECH, Leica, Philips, Ventana, DICOM) with OpenSlide."""

from pathlib import Path

import numpy as np

from nucleiseg.data.readers.resolution import PLAUSIBLE, RESOLUTION_UNITS
from nucleiseg.errors import InputError
from nucleiseg.slides.slide import WHITE, Resolution, Slide, power_resolution, pyramid

INSTALL = "install it with pip install 'nucleiseg[wsi]'"


class OpenSlideSlide(Slide):
    """A file that OpenSlide opens.

    Args:
        path: the file.

    Raises:
        InputError: if OpenSlide is not installed, or does not open the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            import openslide
        except ImportError as error:
            raise InputError(f"{path} is a slide that needs the package openslide-python: {INSTALL}.") from error
        try:
            self._slide = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise InputError(f"{path} cannot be opened as a slide ({error}): is it whole, with its folder?") from error
        self._errors = openslide.OpenSlideError
        chosen = pyramid([(height, width) for width, height in self._slide.level_dimensions])
        self.levels = tuple(chosen.values())
        self._numbers = list(chosen)
        self.resolution = _resolution(dict(self._slide.properties))

    def read(self, level: int, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Read a region, see `Slide.read`."""
        number = self._numbers[level]
        # OpenSlide's own factor, such as 4.00012 where a side was cut off: with it, the region begins at a whole pixel
        factor = self._slide.level_downsamples[number]
        try:
            pixels = self._slide.read_region((round(left * factor), round(top * factor)), number, (width, height))
        except self._errors as error:
            raise InputError(f"{self.path} is damaged: a region cannot be decoded ({error}).") from error
        rgba = np.asarray(pixels)
        alpha = rgba[..., 3:].astype(np.uint16)
        if (alpha == WHITE).all():
            return np.ascontiguousarray(rgba[..., :3])
        blended = (rgba[..., :3] * alpha + WHITE * (255 - alpha) + 127) // 255
        return blended.astype(np.uint8)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()


def detect_vendor(path: Path) -> str | None:
    """Return OpenSlide's name of a file's format; None if it knows none, or is not installed."""
    try:
        import openslide
    except ImportError:
        return None
    return openslide.OpenSlide.detect_format(path)


def _resolution(properties: dict[str, str]) -> Resolution | None:
    """Return micrometers per pixel: as the vendor states them, of the TIFF tags, or of the objective."""
    sides = [_number(properties.get(f"openslide.mpp-{axis}")) for axis in "xy"]
    known = [mpp for mpp in sides if mpp is not None and PLAUSIBLE[0] <= mpp <= PLAUSIBLE[1]]
    if known:
        return Resolution(sum(known) / len(known), "the file")
    unit = {"inch": RESOLUTION_UNITS[2], "centimeter": RESOLUTION_UNITS[3]}.get(
        properties.get("tiff.ResolutionUnit", "")
    )
    pixels = _number(properties.get("tiff.XResolution"))
    if unit and pixels and PLAUSIBLE[0] <= unit / pixels <= PLAUSIBLE[1]:
        return Resolution(unit / pixels, "the file's resolution tags")
    return power_resolution(_number(properties.get("openslide.objective-power")))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
