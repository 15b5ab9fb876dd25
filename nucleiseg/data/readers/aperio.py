"""MoNuSeg and MoNuSAC: outlines as XML of Aperio ImageScope, a file of the image's name.

    MoNuSeg     ROOT/Tissue Images/NAME.tif     ROOT/Annotations/NAME.xml      the test set has both in one folder
    MoNuSAC     ROOT/PATIENT/NAME.svs, .tif     ROOT/PATIENT/NAME.xml          the class is the layer's attribute

Every region of every layer is one nucleus, rasterized by `polygons.fill_even_odd` with its subpixel vertices.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from xml.etree.ElementTree import Element, ParseError

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from nucleiseg.data.readers.annotated import AnnotatedReader, Annotation, PackedInstances
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.listing import IMAGE_SUFFIXES
from nucleiseg.data.readers.outlines import fill_outline, read_color
from nucleiseg.data.readers.pairs import pair_by_stem
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError
from nucleiseg.files import require_regular_file
from nucleiseg.settings import settings
from nucleiseg.structures import Color

MOST_XML_BYTES = 1 << 28
"""Largest XML file that is read, 256 MiB: a nucleus takes some 5 KB, so that 50,000 fit."""

SUFFIXES = (*IMAGE_SUFFIXES, ".svs")
"""Images in order of preference: MoNuSAC has most of them twice, some as .svs alone."""

DEFAULT_ATTRIBUTE = "Description"
"""Attribute that ImageScope gives every layer, as in MoNuSeg: not a class."""

AMBIGUOUS = "ambiguous"
"""MoNuSAC's layer of regions that are not to be scored."""


@settings
class AperioReader(AnnotatedReader):
    """Reads images with outlines of Aperio ImageScope; MoNuSAC's ambiguous regions are ignore regions."""

    layout: ClassVar[str] = "NAME.tif and NAME.xml (Aperio ImageScope) of equal names"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for XML files with the root `Annotations` and images of their names."""
        files = tree.with_suffix(".xml")
        if not files or tree.open(files[0], _read) is None:
            return None
        stems = {path.stem for path in files}
        images = {path.stem for path in tree.images(SUFFIXES)} & stems
        found = f"MoNuSeg or MoNuSAC: {images_and(len(images), len(files), 'XML file')}"
        return Evidence(found, "" if images else "images of the XML files' names")

    def records(self) -> list[Record]:
        """List the images that have an XML file; others are named."""
        tree = self.require_root()
        images = sorted(tree.images(SUFFIXES), key=lambda path: SUFFIXES.index(path.suffix.lower()))
        return self.require_records(pair_by_stem(tree.with_suffix(".xml"), images, self.root, "XML file"))

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Rasterize the regions of all layers."""
        (path,) = record.masks
        return PackedInstances.from_annotations(_regions(_read(path), path, shape, noticed), shape, noticed, path)


def _read(path: Path) -> Element:
    """Parse an XML file; document types, which expand without end, are refused.

    Raises:
        InputError: if it cannot be read or is not from ImageScope.
    """
    if require_regular_file(path) > MOST_XML_BYTES:
        raise InputError(f"{path} has more than {MOST_XML_BYTES >> 20} MiB of XML: split it.")
    try:
        root = parse(path, forbid_dtd=True).getroot()
    except (ParseError, DefusedXmlException, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as XML ({error or type(error).__name__}).") from error
    if root is None or root.tag != "Annotations":
        raise InputError(f"{path} is not from Aperio ImageScope, whose XML begins with Annotations.")
    return root


def _regions(root: Element, path: Path, shape: tuple[int, int], noticed: Counter[str]) -> Iterator[Annotation]:
    """Yield each region of each layer with the name of the layer."""
    for layer in root.iter("Annotation"):
        attribute = layer.find("./Attributes/Attribute")
        name = layer.get("Name") or (attribute.get("Name") if attribute is not None else "") or ""
        name = "" if name == DEFAULT_ATTRIBUTE else name
        color = _color(layer.get("LineColor"))
        for number, region in enumerate(layer.iter("Region"), 1):
            try:
                vertices = [[float(item.attrib[axis]) for axis in "XY"] for item in region.iter("Vertex")]
            except (KeyError, ValueError) as error:
                raise InputError(f"{path}: region {number} has a vertex without numbers X and Y.") from error
            outline = [np.array(vertices).reshape(-1, 2)]
            crop = fill_outline(outline, shape, noticed, f"{path}: region {number}")
            is_ignored = name.lower() == AMBIGUOUS
            yield Annotation(crop, "" if is_ignored else name, is_ignored, color=color)


def _color(line_color: str | None) -> Color | None:
    """Return the color of a layer: a whole number of 24 bits with blue on top, as Windows has it."""
    color = read_color(int(line_color)) if line_color is not None and line_color.isdecimal() else None
    return None if color is None else (color[2], color[1], color[0])
