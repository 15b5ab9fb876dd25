"""Base of readers whose annotations are outlines or label maps with classes, and how such layouts are recognized."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from nucleiseg.data.layers import MOST_PLANES, TooManyPlanesError, pack_crops, pack_labels
from nucleiseg.data.readers.base import Reader, Record, digest_files
from nucleiseg.data.readers.images import to_rgb
from nucleiseg.data.readers.listing import IMAGE_SUFFIXES, list_tree
from nucleiseg.data.readers.pixels import decode_pixels
from nucleiseg.data.settings import FolderPath
from nucleiseg.errors import InputError, some
from nucleiseg.foreign_files import read_json
from nucleiseg.progress import counted, say
from nucleiseg.rle import Crop
from nucleiseg.settings import Bits, settings
from nucleiseg.structures import Sample

MOST_OPENED = 3
"""Files that are opened to recognize the layout of a folder."""

Annotation = tuple[Crop | None, str]
"""The pixels of one nucleus (None: no pixel inside the image), and the name of its class (empty: none)."""


@dataclass(frozen=True)
class Instances:
    """The instances of one image.

    Attributes:
        layers: see `Sample`.
        layer_index: see `Sample`.
        names: the name of each instance's class in the annotations; empty where there is none.
    """

    layers: np.ndarray
    layer_index: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def from_annotations(
        cls, annotations: Iterable[Annotation], shape: tuple[int, int], noticed: Counter[str], where: Path
    ) -> Self:
        """Pack annotated nuclei onto layers; those without a pixel are skipped and counted.

        Args:
            annotations: the nuclei.
            shape: (H, W) of the image.
            noticed: counts warnings.
            where: the file of the annotations, for errors.

        Raises:
            InputError: if nuclei overlap one another more than `MOST_PLANES` deep.
        """
        listed = list(annotations)
        kept = [(crop, name) for crop, name in listed if crop is not None]
        noticed["invalid"] += len(listed) - len(kept)
        try:
            layers, layer_index = pack_crops((crop for crop, _ in kept), shape)
        except TooManyPlanesError as error:
            raise InputError(
                f"{where}: its annotations overlap one another more than {MOST_PLANES} deep; each should mark one "
                "nucleus."
            ) from error
        return cls(layers, layer_index, tuple(name for _, name in kept))

    @classmethod
    def from_labels(cls, labels: np.ndarray, names: Mapping[int, str] | None = None) -> Self:
        """Take an (H, W) label map with the name of each label's class."""
        layers, layer_index = pack_labels(labels)
        present = np.unique(labels)
        return cls(layers, layer_index, tuple((names or {}).get(int(label), "") for label in present[present != 0]))


@dataclass
class Tree:
    """The files below a folder by name; few of them are opened.

    Attributes:
        root: the folder, or the only file.
        files: all files below it.
        opened: content of the files that were opened, at most `MOST_OPENED`.
    """

    root: Path
    files: list[Path]
    opened: dict[Path, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> Self:
        """List a folder; a file is a tree of itself."""
        return cls(root, [root] if root.is_file() else list_tree(root))

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """Return the files with one of the suffixes (in lower case)."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def images(self, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
        """Return the files that are taken for images by their suffix."""
        return self.with_suffix(*suffixes)

    def open_json(self) -> dict[Path, Any]:
        """Return the content of the largest JSON files, as far as files may still be opened."""
        candidates = sorted(self.with_suffix(".json", ".geojson"), key=lambda path: (-path.stat().st_size, path))
        for path in candidates[:MOST_OPENED]:
            self.open(path, read_json)
        return {path: self.opened[path] for path in candidates if self.opened.get(path) is not None}

    def open(self, path: Path, read: Any) -> Any:  # noqa: ANN401
        """Return what `read` makes of a file; None where it cannot be read, or too many have been opened."""
        if path not in self.opened and len(self.opened) < MOST_OPENED:
            try:
                self.opened[path] = read(path)
            except (InputError, OSError, ValueError):
                self.opened[path] = None
        return self.opened.get(path)


@dataclass(frozen=True)
class Evidence:
    """Why a folder is in a layout, or what is missing.

    Attributes:
        found: what was found, to follow "Found": `MoNuSeg: 30 images, 30 XML files`.
        missing: what is missing, as the end of a sentence; empty where the layout is complete.
    """

    found: str
    missing: str = ""


@settings
class AnnotatedReader(Reader):
    """Reads image files with annotations; a layout defines `records`, `instances` and `recognize`.

    Attributes:
        root: the folder of the data set.
        bits: the camera's bits a pixel in files that have 16; None: by each image's brightest value.
        layout: the layout in words, for errors.
        version: goes into every content key: raise it when the same files are to be read differently.
    """

    root: FolderPath
    bits: Bits | None = None

    layout: ClassVar[str] = ""
    version: ClassVar[int] = 1

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Return why a folder is in this layout, or what it lacks to be; None where nothing points to it."""
        raise NotImplementedError

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> Instances:
        """Read the annotations of an image.

        Args:
            record: the image.
            shape: its (H, W).
            noticed: counts warnings by the kinds of `data_warnings.SENTENCES`.

        Raises:
            InputError: if they cannot be used.
        """
        raise NotImplementedError

    def image(self, record: Record, noticed: Counter[str]) -> np.ndarray:
        """Decode an image to (H, W, 3) uint8 RGB."""
        assert record.image is not None
        pixels = decode_pixels(record.image)
        assert pixels.values is not None
        if pixels.values.dtype.kind == "f":
            noticed["not_finite"] = int(not np.isfinite(pixels.values).all())
        return to_rgb(pixels.values, record.image, self.bits)

    def read(self, record: Record) -> Sample:
        """Decode one image and its annotations; all classes are read as one."""
        if record.problem is not None:
            raise InputError(record.problem)
        noticed: Counter[str] = Counter()
        image = self.image(record, noticed)
        found = self.instances(record, (image.shape[0], image.shape[1]), noticed)
        noticed["classes"] = max(len(set(filter(None, found.names))) - 1, 0)
        labels = np.ones(len(found.layer_index), np.int64)
        return Sample(record.name, image, found.layers, found.layer_index, labels, {**+noticed})

    def names(self, record: Record) -> tuple[str, ...]:
        """Return the name of each instance's class in the annotations, in the order of the instances."""
        image = self.image(record, Counter())
        return self.instances(record, (image.shape[0], image.shape[1]), Counter()).names

    def key(self, record: Record) -> str:
        """Return the SHA-256 of the record's file names and contents, and of the settings."""
        own = {name: value for name, value in self.to_dict().items() if name != "root"}
        identity = f"{type(self).__name__} {self.version}\0{own}\0{record.name}\0{record.index}"
        return digest_files(identity, filter(None, (record.image, *record.masks)))

    def require_root(self) -> Tree:
        """Return the tree of the root.

        Raises:
            InputError: if it does not exist.
        """
        if not self.root.exists():
            raise InputError(f"The data folder {self.root} does not exist: set root to a folder with {self.layout}.")
        return Tree.of(self.root)

    def require_records(self, records: list[Record]) -> list[Record]:
        """Return the records.

        Raises:
            InputError: if there are none.
        """
        if not records:
            raise InputError(f"The data folder {self.root} holds nothing to read: it should have {self.layout}.")
        return records


def unique_names(paths: Sequence[Path], root: Path) -> list[str]:
    """Return the name of each image: its stem, with the folders before it where two images have one stem."""
    repeated = {stem for stem, count in Counter(path.stem for path in paths).items() if count > 1}
    names = [
        "_".join(path.relative_to(root).with_suffix("").parts) if path.stem in repeated else path.stem for path in paths
    ]
    again = {name for name, count in Counter(names).items() if count > 1}  # one stem with two suffixes
    return [path.name.replace(".", "_") if name in again else name for path, name in zip(paths, names, strict=True)]


def pair_by_stem(annotations: Sequence[Path], images: Sequence[Path], root: Path, what: str) -> list[Record]:
    """Make a record of each annotation file with the image of its stem, in its own folder or anywhere below the root.

    Images without annotations are skipped and named; annotations without an image are a problem of their record.

    Args:
        annotations: the files of annotations.
        images: the files of images; of several of one stem in a folder the first is taken.
        root: the folder of the data set.
        what: what an annotation file is called (`XML file`).
    """
    by_stem: dict[str, list[Path]] = {}
    for path in images:
        by_stem.setdefault(path.stem, []).append(path)
    records, used = [], set()
    for path, name in zip(annotations, unique_names(annotations, root), strict=True):
        candidates = by_stem.get(path.stem, [])
        image = next((other for other in candidates if other.parent == path.parent), next(iter(candidates), None))
        if image is None:
            records.append(Record(name, problem=f"{path} has no image named {path.stem} in {root}: add it."))
            continue
        used.add((image.parent, image.stem))
        records.append(Record(name, image, (path,)))
    without = [path for path in images if (path.parent, path.stem) not in used]
    if without and records:
        skipped = "1 image has" if len(without) == 1 else f"{len(without)} images have"
        say(
            f"{skipped} no {what} and {'is' if len(without) == 1 else 'are'} skipped: {some([p.name for p in without])}."
        )
    return records


def images_and(count: int, files: int, what: str) -> str:
    """Return `30 images, 30 XML files`."""
    return f"{counted(count, 'image')}, {counted(files, what)}"
