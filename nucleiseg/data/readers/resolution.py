"""Micrometers per pixel, as microscopes and slide scanners write them into TIFF files."""

import re
from pathlib import Path

from tifffile import TiffFile, TiffPage

PLAUSIBLE = (0.05, 10.0)
"""Least and greatest micrometers per pixel that are believed: from electron microscopes' overviews of a cell down to
1.25x objectives. Scanners' and screens' dots per inch (72 to 1200, 20 to 350 um) lie outside."""

MICROMETERS = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "\\u00b5m": 1.0, "micron": 1.0, "microns": 1.0, "mm": 1e3, "nm": 1e-3, "cm": 1e4
}  # fmt: skip
"""Micrometers in the units that OME-XML and ImageJ name."""

RESOLUTION_UNITS = {2: 25_400.0, 3: 10_000.0}
"""Micrometers in the units of the TIFF tag ResolutionUnit: inch and centimeter (TIFF 6.0, section 8)."""


def read_mpp(path: Path) -> float | None:
    """Return the micrometers per pixel that a file states, or None where it states none that are plausible.

    OME-XML (PhysicalSizeX), Aperio's description (MPP), ImageJ's unit and the resolution tags are asked in this order.
    Other formats than TIFF know dots per inch alone, which screens and printers set.

    Args:
        path: an image file of any kind; one that cannot be read states nothing.
    """
    if path.suffix.lower() not in (".tif", ".tiff", ".svs"):
        return None
    try:
        with TiffFile(path) as file:
            page = file.pages.first
            stated = [_ome(file.ome_metadata or ""), _aperio(page.description), _resolution(file, page)]
    except Exception:  # tifffile raises whatever a damaged file leads to; decoding reports the file
        return None
    return next((mpp for mpp in stated if mpp is not None and PLAUSIBLE[0] <= mpp <= PLAUSIBLE[1]), None)


def _ome(xml: str) -> float | None:
    size = re.search(r'PhysicalSizeX="([^"]+)"', xml)
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', xml)
    factor = MICROMETERS.get(unit[1]) if unit else 1.0  # the schema's default is the micrometer
    return float(size[1]) * factor if size and factor else None


def _aperio(description: str) -> float | None:
    stated = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", description)
    return float(stated[1]) if stated else None


def _resolution(file: TiffFile, page: TiffPage) -> float | None:
    """Read XResolution, pixels per unit, whose unit is ImageJ's or that of the tag ResolutionUnit."""
    tag = page.tags.get("XResolution")
    if tag is None:
        return None
    pixels, units = tag.value
    named = str((file.imagej_metadata or {}).get("unit", "")).lower()
    unit = page.tags.get("ResolutionUnit")
    length = MICROMETERS.get(named) or RESOLUTION_UNITS.get(int(unit.value) if unit else 2)
    return length * units / pixels if length else None
