"""Cellpose: label maps beside their images, as its interface and command line save them.

    ROOT/**/NAME.tif        ROOT/**/NAME_masks.tif (.tiff, .png), else NAME_seg.npy

`_seg.npy` is a pickle; it is read without running anything that it names.
"""

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np

from nucleiseg.data.readers.annotated import AnnotatedReader, PackedInstances
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.masks import IGNORED, check_labels, read_labels
from nucleiseg.data.readers.pairs import unique_names
from nucleiseg.data.readers.pixels import MOST_BYTES
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError, some
from nucleiseg.files import require_regular_file
from nucleiseg.pickled_arrays import PickledArray
from nucleiseg.progress import counted, echo
from nucleiseg.restricted_pickle import read_pickled_dictionary
from nucleiseg.settings import settings

BESIDE = ("_flows", "_cp_output", "_cp_masks", "_outlines", "_masks", "_cellprob")
"""Ends of the names of Cellpose's other images."""


@settings
class CellposeReader(AnnotatedReader):
    """Reads images with Cellpose's masks; `_masks` files are preferred to `_seg.npy`."""

    layout: ClassVar[str] = "NAME.tif with NAME_masks.tif (or .png) or NAME_seg.npy beside it"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for names that end in `_masks` or `_seg.npy`."""
        masks = _masks(tree)
        if not masks:
            return None
        images = [path for path in tree.images() if (path.parent, path.stem) in masks and not _is_beside(path)]
        found = f"Cellpose: {images_and(len(images), len(masks), 'mask file')}"
        return Evidence(found, "" if images else "images of the masks' names")

    def records(self) -> list[Record]:
        """List the images that have masks; others are named.

        Raises:
            InputError: if the root does not exist, or no image there has masks.
        """
        tree = self.require_root()
        masks = _masks(tree)
        images = [path for path in tree.images() if not _is_beside(path)]
        pairs = [path for path in images if (path.parent, path.stem) in masks]
        alone = [path.name for path in images if (path.parent, path.stem) not in masks]
        if alone and pairs:
            echo(f"Skipped {counted(len(alone), 'image')} without masks: {some(alone)}.")
        names = unique_names(pairs, self.root)
        found = [Record(name, path, (masks[path.parent, path.stem],)) for name, path in zip(names, pairs, strict=True)]
        return self.require_records(found)

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Read the label map of an image."""
        (path,) = record.masks
        if path.suffix != ".npy":
            return PackedInstances.from_labels(read_labels(path, shape, noticed), noticed)
        return PackedInstances.from_labels(_read_seg(path, shape), noticed)


def _is_beside(path: Path) -> bool:
    return path.stem.endswith(BESIDE)


def _masks(tree: Tree) -> dict[tuple[Path, str], Path]:
    """Return the file of masks by folder and name of the image."""
    found = {
        (path.parent, path.name.removesuffix("_seg.npy")): path for path in tree.files if path.name.endswith("_seg.npy")
    }
    for end in ("_cp_masks", "_masks"):
        found |= {
            (path.parent, path.stem.removesuffix(end)): path
            for path in tree.with_suffix(".tif", ".tiff", ".png")
            if path.stem.endswith(end) and path.stem != end
        }
    return found


def _read_seg(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the label map `masks` of a `_seg.npy` file, (H, W) int64."""
    if require_regular_file(path) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES / 1e9:.1f} GB, which are not read at once.")
    with path.open("rb") as handle:
        try:
            version = np.lib.format.read_magic(handle)
            read_header = (
                np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            )
            sides, _, dtype = read_header(handle)
        except ValueError as error:
            raise InputError(f"{path} is not a NumPy file ({error}): save it again with Cellpose.") from error
        if sides != () or dtype != np.dtype(object):
            raise InputError(f"{path} holds an array instead of Cellpose's dictionary with masks.")
        content = read_pickled_dictionary(handle, path)
    masks = content.get("masks")
    if not isinstance(masks, PickledArray):
        raise InputError(f"{path} has no array of masks: save it again with Cellpose.")
    labels = check_labels(masks.numpy(), path, IGNORED)
    if labels.shape != shape:
        raise InputError(
            f"{path} has masks of {labels.shape[1]} x {labels.shape[0]} pixels, its image {shape[1]} x {shape[0]}."
        )
    return labels
