"""Base of readers whose annotations are outlines or label maps with classes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

import numpy as np

from nucleiseg.data.layers import MOST_PLANES, TooManyPlanesError, pack_crops, pack_labels
from nucleiseg.data.readers.base import Reader, Record, digest_files
from nucleiseg.data.readers.images import to_rgb
from nucleiseg.data.readers.masks import split_ignored
from nucleiseg.data.readers.pixels import decode_pixels
from nucleiseg.data.readers.recognition import Tree
from nucleiseg.data.settings import FolderPath
from nucleiseg.errors import InputError
from nucleiseg.rle import Crop
from nucleiseg.settings import Bits, settings
from nucleiseg.structures import EVERY_CLASS, NUCLEUS, Color, IgnoreRegions, NucleusClass, Sample


class Annotation(NamedTuple):
    """One nucleus, or an ignore region.

    Attributes:
        crop: its pixels; None: no pixel inside the image.
        name: the name of its class; empty: none, or any class in an ignore region.
        is_ignored: nuclei in it are not annotated one by one (see `structures.IgnoreRegions`).
        number: see `NucleusClass`.
        color: see `NucleusClass`.
    """

    crop: Crop | None
    name: str
    is_ignored: bool = False
    number: int | None = None
    color: Color | None = None


@dataclass(frozen=True)
class PackedInstances:
    """The instances of one image.

    Attributes:
        layers: see `Sample`.
        layer_index: see `Sample`.
        names: the name of each instance's class in the annotations; empty where there is none.
        regions: layers and layer index of the ignore regions; None where there are none.
        region_names: the name of each region's class; empty: any class.
        classes: what the annotations give of a class beside its name, by name.
    """

    layers: np.ndarray
    layer_index: np.ndarray
    names: tuple[str, ...]
    regions: tuple[np.ndarray, np.ndarray] | None = None
    region_names: tuple[str, ...] = ()
    classes: Mapping[str, NucleusClass] = field(default_factory=dict)

    @classmethod
    def from_annotations(
        cls, annotations: Iterable[Annotation], shape: tuple[int, int], noticed: Counter[str], where: Path
    ) -> Self:
        """Pack annotated nuclei onto layers, and ignore regions onto others; those without a pixel are skipped.

        Args:
            annotations: the nuclei and ignore regions.
            shape: (H, W) of the image.
            noticed: counts warnings.
            where: the file of the annotations, for errors.

        Raises:
            InputError: if nuclei overlap one another more than `MOST_PLANES` deep.
        """
        listed = list(annotations)
        kept = [(item.crop, item.name) for item in listed if item.crop is not None and not item.is_ignored]
        ignored = [(item.crop, item.name) for item in listed if item.crop is not None and item.is_ignored]
        noticed["invalid"] += len(listed) - len(kept) - len(ignored)
        noticed["ignored"] += len(ignored)
        try:
            layers, layer_index = pack_crops((crop for crop, _ in kept), shape)
            regions = pack_crops((crop for crop, _ in ignored), shape) if ignored else None
        except TooManyPlanesError as error:
            raise InputError(
                f"{where}: its annotations overlap one another more than {MOST_PLANES} deep; each should mark one "
                "nucleus."
            ) from error
        names, region_names = (tuple(name for _, name in items) for items in (kept, ignored))
        classes = {item.name: NucleusClass(item.name, item.number, item.color) for item in reversed(listed)}
        return cls(layers, layer_index, names, regions, region_names, classes)

    @classmethod
    def from_labels(
        cls,
        labels: np.ndarray,
        noticed: Counter[str],
        names: Mapping[int, str] | None = None,
        ignore: np.ndarray | None = None,
        numbered: Sequence[str] = (),
    ) -> Self:
        """Take a label map.

        Args:
            labels: (H, W) whole numbers: 0 is the background, -1 an ignore region of any class.
            noticed: counts warnings.
            names: the name of each label's class.
            ignore: (H, W) numbers of further ignore regions of any class, 0 outside of them.
            numbered: names of the classes that the annotations call 1, 2, ...
        """
        classes = {name: NucleusClass(name, number) for number, name in enumerate(numbered, 1)}
        nuclei, vague = split_ignored(labels)
        layers, layer_index = pack_labels(nuclei)
        present = np.unique(nuclei)
        found = tuple((names or {}).get(int(label), "") for label in present[present != 0])
        if ignore is not None:
            vague = ignore if vague is None else np.where(vague, ignore.max() + 1, ignore)
        if vague is None or not vague.any():
            return cls(layers, layer_index, found, classes=classes)
        regions = pack_labels(vague)
        noticed["ignored"] += len(regions[1])
        return cls(layers, layer_index, found, regions, ("",) * len(regions[1]), classes)

    def labels(self) -> tuple[tuple[NucleusClass, ...], np.ndarray, np.ndarray]:
        """Number the classes of this image in the order of their names; nuclei without a class are `NUCLEUS`.

        Returns:
            The classes of the labels 1, 2, ..., the (N,) int64 label of each instance, and the (R,) int64 label of each
            region, `EVERY_CLASS` for one without a class.
        """
        of_nuclei = [name or NUCLEUS for name in self.names]
        order = {name: label for label, name in enumerate(sorted({*of_nuclei, *filter(None, self.region_names)}), 1)}
        classes = tuple(self.classes.get(name, NucleusClass(name)) for name in order)
        of_regions = [order.get(name, EVERY_CLASS) if name else EVERY_CLASS for name in self.region_names]
        return classes, np.array([order[name] for name in of_nuclei], np.int64), np.array(of_regions, np.int64)


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
    version: ClassVar[int] = 2

    def instances(self, record: Record, shape: tuple[int, int], noticed: Counter[str]) -> PackedInstances:
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
        """Decode one image and its annotations."""
        if record.problem is not None:
            raise InputError(record.problem)
        noticed: Counter[str] = Counter()
        image = self.image(record, noticed)
        found = self.instances(record, (image.shape[0], image.shape[1]), noticed)
        classes, labels, region_labels = found.labels()
        ignore = None if found.regions is None else IgnoreRegions(*found.regions, region_labels)
        return Sample(record.name, image, found.layers, found.layer_index, labels, {**+noticed}, ignore, classes)

    def names(self, record: Record) -> tuple[str, ...]:
        """Return the name of each instance's class in the annotations, in the order of the instances."""
        image = self.image(record, Counter())
        return self.instances(record, (image.shape[0], image.shape[1]), Counter()).names

    def find_classes(self, records: Sequence[Record]) -> Mapping[NucleusClass, int]:
        """Read the annotations of images; see `Reader.find_classes`."""
        found: Counter[NucleusClass] = Counter()
        for record in records:
            with suppress(InputError):
                image = self.image(record, Counter())
                classes, labels, _ = self.instances(record, (image.shape[0], image.shape[1]), Counter()).labels()
                found.update(classes[label - 1] for label in labels.tolist())
        return found

    def key(self, record: Record) -> str:
        """Return the SHA-256 of the record's file names and contents, and of the settings."""
        own = {name: value for name, value in self.to_dict().items() if name not in ("root", "images")}  # folders
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
