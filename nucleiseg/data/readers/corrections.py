"""QuPath's GeoJSON after correction: a training set of which only the reviewed regions count.

    ROOT/**/NAME.geojson    exported from QuPath, with annotations of the class (or name) `Reviewed` around the nuclei
                            that were checked; ROOT/**/NAME.tif, or images in another folder

Inside a reviewed region every nucleus is annotated, so that all else is background. All the
rest is an ignore region, neither positive nor negative, since unchecked predictions would teach the network its own
mistakes. A nucleus counts if more than half of it is reviewed. For example:

    CorrectionsReader(root="edited", images="slides")
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from nucleiseg.data.readers.annotated import Annotation, PackedInstances
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.geojson import (
    GeoJsonReader,
    QuPathObject,
    class_name,
    features_of,
    geojson_files,
    is_ignore_class,
    own_name,
    read_objects,
)
from nucleiseg.data.readers.pairs import pair_by_stem
from nucleiseg.data.readers.recognition import Evidence, Tree
from nucleiseg.data.settings import FolderPath
from nucleiseg.errors import InputError, some
from nucleiseg.foreign_files import read_json
from nucleiseg.progress import counted, echo
from nucleiseg.rle import Crop, tight_crop
from nucleiseg.settings import Accepts, settings

REVIEWED = "Reviewed"
"""Beginning of the class, or of the name, of annotations around nuclei that were checked."""

EVERYTHING = "all"
"""The `reviewed` that takes whole images for checked."""


def is_region(name: str, title: str, reviewed: str = REVIEWED) -> bool:
    """Return whether the class or the name of an annotation is that of a reviewed region, in any case of letters."""
    return any(text.casefold().startswith(reviewed.casefold()) for text in (name, title))


def reviewed_plane(
    objects: Sequence[QuPathObject], shape: tuple[int, int], reviewed: str = REVIEWED
) -> np.ndarray | None:
    """Return the (H, W) bool pixels of all reviewed regions of an image; None if it has none."""
    regions = [item.crop for item in objects if is_region(item.name, item.title, reviewed)]
    if not regions:
        return None
    plane = np.zeros(shape, bool)
    for crop in regions:
        plane[crop.window] |= crop.mask
    return plane


def is_mostly_in(crop: Crop, plane: np.ndarray) -> bool:
    """Return whether more than half of the pixels of a crop are in an (H, W) bool plane."""
    return bool(2 * np.count_nonzero(plane[crop.window] & crop.mask) > np.count_nonzero(crop.mask))


@settings
class CorrectionsReader(GeoJsonReader):
    """Reads images with corrected nuclei: detections, cells and annotations other than regions.

    Attributes:
        images: the folder of the images; None: `root`.
        reviewed: beginning of the class or name of reviewed regions; images without one are skipped. `all`: whole
            images are reviewed.
    """

    images: FolderPath | None = None
    reviewed: Annotated[str, Field(min_length=1), Accepts("a class or name of annotations, or all")] = REVIEWED

    layout: ClassVar[str] = "NAME.geojson as exported from QuPath, with images of equal names"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Return None: corrections are in the layout of `geojson`, and only the user knows what was reviewed."""
        return None

    def records(self) -> list[Record]:
        """List the images with a reviewed region; others are named.

        Raises:
            InputError: if there is none.
        """
        tree = self.require_root()
        if self.images is not None and not self.images.is_dir():
            raise InputError(f"The folder images={self.images} does not exist: it should hold the corrected images.")
        files = geojson_files(tree)
        reviewed = [path for path in files if self.reviewed == EVERYTHING or self._has_region(read_json(path))]
        if files and not reviewed:
            raise InputError(
                f"No GeoJSON file in {self.root} has an annotation of the class or name {self.reviewed}: in QuPath, "
                f"draw one around the nuclei that you have checked, or set reviewed={EVERYTHING} for images that were "
                "checked as a whole."
            )
        if skipped := [path.name for path in files if path not in reviewed]:
            echo(f"Skipped {counted(len(skipped), 'image')} without a region {self.reviewed}: {some(skipped)}.")
        images = tree if self.images is None else Tree.of(self.images)
        return self.require_records(pair_by_stem(reviewed, images.images(), self.root, "corrections"))

    def _has_region(self, document: Any) -> bool:  # noqa: ANN401
        features = features_of(document)
        return any(is_region(class_name(item), own_name(item), self.reviewed) for item in features)

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Rasterize the nuclei that are reviewed, and everything else as an ignore region."""
        (path,) = record.masks
        objects = read_objects(path, shape, noticed)
        plane = None if self.reviewed == EVERYTHING else reviewed_plane(objects, shape, self.reviewed)
        ignore = np.zeros(shape, bool) if plane is None else ~plane
        inside = np.zeros(shape, bool)
        annotations = []
        for item in (item for item in objects if not is_region(item.name, item.title, self.reviewed)):
            if is_ignore_class(item.name):
                annotations.append(Annotation(item.crop, "", is_ignored=True))
            elif plane is None or is_mostly_in(item.crop, plane):
                annotations.append(Annotation(item.crop, item.name, color=item.color))
                inside[item.crop.window] |= item.crop.mask
            else:
                ignore[item.crop.window] |= item.crop.mask
        unreviewed = tight_crop(0, 0, ignore & ~inside)
        packed = [*annotations, *([Annotation(unreviewed, "", is_ignored=True)] if unreviewed else [])]
        found = PackedInstances.from_annotations(packed, shape, noticed, path)
        if unreviewed:
            noticed["ignored"] -= 1
            noticed["unreviewed"] = 1
        return found
