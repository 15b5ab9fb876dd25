"""Lizard, CoNSeP, Kumar and CPM: MATLAB files with a label map `inst_map`, one of the image's name.

Lizard              lizard_images1/NAME.png     Labels/NAME.mat: inst_map, id, class (of each id)
CoNSeP, Kumar       Images/NAME.png             Labels/NAME.mat: inst_map, type_map or inst_type
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.io import loadmat, whosmat

from nucleiseg.data.readers.annotated import AnnotatedReader, PackedInstances
from nucleiseg.data.readers.arrays import CONIC_CLASSES, class_names
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.masks import check_labels
from nucleiseg.data.readers.pairs import pair_by_stem
from nucleiseg.data.readers.pixels import MOST_BYTES
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.errors import InputError, some
from nucleiseg.files import require_regular_file
from nucleiseg.foreign_files import MOST_PIXELS
from nucleiseg.settings import settings

CONSEP_CLASSES = (
    "other", "inflammatory", "healthy epithelial", "dysplastic or malignant epithelial", "fibroblast", "muscle",
    "endothelial",
)  # fmt: skip
"""Types 1 to 7 of CoNSeP (Graham et al., Medical Image Analysis 58, 2019)."""

HDF5_MAGIC = b"MATLAB 7.3"


@settings
class MatlabReader(AnnotatedReader):
    """Reads images with MATLAB files as HoVer-Net's authors publish them; files of version 7.3 are refused."""

    layout: ClassVar[str] = "NAME.png and NAME.mat (with inst_map) of equal names"

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for MATLAB files with `inst_map` and images of their names."""
        files = tree.with_suffix(".mat")
        variables = tree.open(files[0], _variables) if files else None
        if variables is None:
            return None
        kind = "Lizard" if "class" in variables else "CoNSeP, Kumar or CPM"
        images = {path.stem for path in tree.images()} & {path.stem for path in files}
        found = f"{kind}: {images_and(len(images), len(files), 'MATLAB file')}"
        if "inst_map" not in variables:
            return Evidence(found, f"the variable inst_map (the first file has {some(variables)})")
        return Evidence(found, "" if images else "images of the MATLAB files' names")

    def records(self) -> list[Record]:
        """List the images that have a MATLAB file; others are named."""
        tree = self.require_root()
        return self.require_records(pair_by_stem(tree.with_suffix(".mat"), tree.images(), self.root, "MATLAB file"))

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
        """Take the label map and the classes: of the ids in Lizard, else of the pixels, else of the nuclei in order."""
        path = record.masks[0]
        content = _load(path)
        labels = check_labels(np.asarray(content["inst_map"]), path)
        if labels.shape != shape:
            found = f"{labels.shape[1]} x {labels.shape[0]}"
            raise InputError(f"{path} has an inst_map of {found} pixels, its image {shape[1]} x {shape[0]}.")
        numbered: tuple[str, ...] = ()
        names: dict[int, str] = {}
        if "class" in content and "id" in content:
            ids, classes = (np.asarray(content[name]).reshape(-1) for name in ("id", "class"))
            if len(ids) != len(classes) or not {ids.dtype.kind, classes.dtype.kind} <= set("buif"):
                raise InputError(f"{path} has {len(ids)} ids and {len(classes)} classes, or some that are not numbers.")
            numbered = CONIC_CLASSES
            known = dict(enumerate(numbered, 1))
            names = {int(label): known.get(int(c), str(int(c))) for label, c in zip(ids, classes, strict=True)}
        elif "type_map" in content:
            types = check_labels(np.asarray(content["type_map"]), path)
            if types.shape != shape:
                raise InputError(f"{path} has a type_map of another size than its inst_map.")
            numbered = CONSEP_CLASSES
            names = class_names(labels, types, numbered)
        elif "inst_type" in content:
            types, values = np.asarray(content["inst_type"]).reshape(-1), np.unique(labels[labels > 0])
            if len(types) != len(values) or types.dtype.kind not in "buif":
                raise InputError(f"{path} has {len(types)} values of inst_type for {len(values)} nuclei of inst_map.")
            numbered = CONSEP_CLASSES
            known = dict(enumerate(numbered, 1))
            names = {int(v): known.get(int(t), str(int(t))) for v, t in zip(values, types, strict=True)}
        return PackedInstances.from_labels(labels, noticed, names, numbered=numbered)


def _variables(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each variable without reading its values.

    Raises:
        InputError: if it is not a MATLAB file up to version 7.
    """
    if require_regular_file(path) > MOST_BYTES:
        raise InputError(f"{path} has more than {MOST_BYTES / 1e9:.1f} GB, which are not read at once.")
    with path.open("rb") as handle:
        head = handle.read(len(HDF5_MAGIC))
    if head == HDF5_MAGIC:
        raise InputError(f"{path} is a MATLAB file of version 7.3 (HDF5): save it with save(..., '-v7').")
    try:
        return {name: tuple(shape) for name, shape, _ in whosmat(path)}
    except Exception as error:  # damaged files make scipy raise whatever their random bytes lead to
        raise InputError(f"{path} cannot be read as a MATLAB file ({error or type(error).__name__}).") from error


def _load(path: Path) -> Mapping[str, Any]:
    """Read the label map and the classes; sizes are checked before memory is taken.

    Raises:
        InputError: if the file is damaged, too large, or has no `inst_map`.
    """
    variables = _variables(path)
    if "inst_map" not in variables:
        raise InputError(f"{path} has no variable inst_map; it has {some(variables)}.")
    wanted = [name for name in ("inst_map", "type_map", "inst_type", "class", "id") if name in variables]
    if any(np.prod(variables[name], dtype=np.float64) > MOST_PIXELS for name in wanted):
        raise InputError(f"{path} has variables of more than {MOST_PIXELS:,} values, which are not read at once.")
    try:
        content: Mapping[str, Any] = loadmat(path, variable_names=wanted)
        return content
    except Exception as error:  # as above
        raise InputError(f"{path} cannot be read as a MATLAB file ({error or type(error).__name__}).") from error
