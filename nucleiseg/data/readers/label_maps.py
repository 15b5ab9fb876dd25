"""Twin folders of images and label maps: StarDist, BBBC, EmbedSeg and most exports of segmentation tools.

    ROOT/images/NAME.tif        ROOT/masks/NAME.tif        0 is the background, each nucleus has a number of its own

also below `train/`, `test/` and other folders. The folders may have other usual names, see `FOLDERS`.
"""

from pathlib import Path
from typing import ClassVar

from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.data.readers.listing import LOSSY_SUFFIXES
from nucleiseg.data.readers.pairs import unique_names
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError, some
from nucleiseg.progress import counted, echo
from nucleiseg.settings import settings

FOLDERS = {
    "images": ("masks", "labels", "label_maps", "instances", "annotations", "gt"),
    "image": ("mask", "label", "masks", "labels"),
    "imgs": ("masks", "labels"),
    "img": ("mask", "label", "masks", "labels"),
    "raw": ("masks", "labels", "ground_truth"),
}
"""Names of the folder of images (in lower case) -> of the folder of label maps beside it, in order of preference."""

SUFFIXES = ("", "_mask", "_masks", "_label", "_labels")
"""What may follow the image's name in that of its label map."""


@settings
class LabelMapsReader(FoldersReader):
    """Reads images with one label map each, from two folders side by side.

    How the values are read is `FoldersReader`'s rule for a mask file that is alone: a binary mask of several parts is
    read as one nucleus, with a warning.
    """

    layout: ClassVar[str] = "images/NAME.tif and masks/NAME.tif (label maps) of equal names"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for twin folders with files of equal stems; folders of one image each are another layout."""
        pairs, alone, twins = _pair(tree)
        one_per_folder = FoldersReader.recognize(tree)
        if not twins or (one_per_folder is not None and not (one_per_folder.missing and pairs)):
            return None
        found = f"label maps: {images_and(len(pairs) + len(alone), len(pairs), 'label map')}"
        return Evidence(found, "" if pairs else "label maps of the images' names")

    def records(self) -> list[Record]:
        """List the images that have a label map; others are named.

        Raises:
            InputError: if the root does not exist or holds no such pair.
        """
        if not self.root.is_dir():
            raise InputError(f"The data folder {self.root} does not exist: set root to a folder with {self.layout}.")
        pairs, alone, _ = _pair(Tree.of(self.root))
        if not pairs:
            raise InputError(f"The data folder {self.root} holds nothing to read: it should have {self.layout}.")
        if alone:
            skipped = some([path.name for path in alone])
            echo(f"Skipped {counted(len(alone), 'image')} without a label map of the same name: {skipped}.")
        named = zip(unique_names([image for image, _ in pairs], self.root), pairs, strict=True)
        return [Record(name, image, (mask,)) for name, (image, mask) in named]


def _pair(tree: Tree) -> tuple[list[tuple[Path, Path]], list[Path], bool]:
    """Return the pairs of image and label map, the images without one, and whether there are twin folders at all."""
    folders: dict[Path, dict[str, Path]] = {}
    for path in sorted(tree.images(), key=lambda path: path.suffix.lower() in LOSSY_SUFFIXES):
        folders.setdefault(path.parent, {}).setdefault(path.stem, path)
    names = {(folder.parent, folder.name.lower()): folder for folder in folders}
    pairs, alone, has_twins = [], [], False
    for image in tree.images():
        wanted = FOLDERS.get(image.parent.name.lower(), ())
        twin = next((names[image.parent.parent, name] for name in wanted if (image.parent.parent, name) in names), None)
        if twin is None:
            continue
        has_twins = True
        found = (folders[twin].get(image.stem + suffix) for suffix in SUFFIXES)
        mask = next((path for path in found if path is not None), None)
        if mask is None:
            alone.append(image)
        else:
            pairs.append((image, mask))
    return pairs, alone, has_twins
