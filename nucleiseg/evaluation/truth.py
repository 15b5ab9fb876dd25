"""What there is to find: the containers, and truth from a folder of masks with a file of image ids."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from nucleiseg.data.cache import CacheError, SampleCache
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.errors import InputError, raise_problems, some
from nucleiseg.evaluation.boxes import Box
from nucleiseg.inference.image_ids import ImageEntry, ImageId, path_parts
from nucleiseg.label_maps import measure
from nucleiseg.progress import track
from nucleiseg.rle import RLE, Crop, compress, run_lengths
from nucleiseg.structures import Sample


@dataclass(frozen=True)
class CrowdRegion:
    """A region of many instances that are not told apart (COCO's `iscrowd`): found by nobody, missed by nobody.

    Attributes:
        mask: its pixels, at least one.
        label: the class of its instances.
        box: the box that the file gives; None: the tight box of the mask.
    """

    mask: RLE
    label: int
    box: Box | None = None


@dataclass(frozen=True)
class ImageTruth:
    """The true instances of one image.

    Attributes:
        name: the image's name, without folder and suffix.
        image_id: what results call it by.
        height: rows of the image.
        width: columns of the image.
        masks: N masks over the image, each with a pixel.
        labels: N classes.
        boxes: N boxes; None where the file gives none: they are the tight boxes of the masks.
        crowd: regions whose instances are not told apart; none of them is among the masks.
    """

    name: str
    image_id: ImageId
    height: int
    width: int
    masks: list[RLE]
    labels: list[int]
    boxes: list[Box] | None = None
    crowd: tuple[CrowdRegion, ...] = ()

    @classmethod
    def of(cls, sample: Sample, image_id: ImageId) -> "ImageTruth":
        """Take the instances of a sample, in pixels of its image."""
        height, width = sample.image.shape[:2]
        return cls(sample.name, image_id, height, width, sample_masks(sample), sample.labels.tolist())


class Unreadable(NamedTuple):
    """An image whose truth cannot be read.

    Attributes:
        name: the image's name.
        image_id: what results call it by.
        problems: a sentence for each file that cannot be used.
    """

    name: str
    image_id: ImageId
    problems: list[str]


@dataclass(frozen=True)
class Truth:
    """The true instances of a set of images.

    Attributes:
        images: the images, each id once.
        categories: label -> name of the class.
        unreadable: the images that are left out because their files cannot be read.
        notes: sentences on what a reader of the numbers should know.
    """

    images: tuple[ImageTruth, ...]
    categories: Mapping[int, str]
    unreadable: tuple[Unreadable, ...] = ()
    notes: tuple[str, ...] = ()

    def renumbered(self, ids: Sequence[ImageEntry], where: str) -> "Truth":
        """Return the images that a file of image ids lists, under its ids; images are told by their names.

        Args:
            ids: the entries of the file.
            where: what errors call the file.

        Raises:
            InputError: if the file lists an image twice, or one that is not here, or two images here have one name.
        """
        by_name = {image.name: image for image in self.images}
        repeated = [name for name, count in Counter(image.name for image in self.images).items() if count > 1]
        if repeated:
            raise InputError(f"The truth has several images named {some(repeated)}: {where} cannot tell them apart.")
        numbers, note = match_ids(by_name, ids, where)
        images = tuple(replace(by_name[name], image_id=number) for name, number in numbers.items())
        return replace(self, images=images, notes=self.notes + note)


def sample_masks(sample: Sample) -> list[RLE]:
    """Encode the instances of a sample, each from its own window of its layer.

    Returns:
        One RLE over the whole image an instance, in their order.
    """
    height, width = sample.image.shape[:2]
    boxes = measure(sample.layers).boxes.astype(int).tolist()
    runs = []
    for value, (plane, (left, top, right, bottom)) in enumerate(zip(sample.layer_index, boxes, strict=True), 1):
        window = sample.layers[plane, top:bottom, left:right]
        runs.append(run_lengths(Crop(top, left, window == value), height, width))
    return compress(runs, height, width)


def read_folder(root: Path, ids: Sequence[ImageEntry], where: str, cache: SampleCache) -> Truth:
    """Read the truth of the listed images from ROOT/NAME/images and ROOT/NAME/masks (one file a nucleus).

    Args:
        root: the folder.
        ids: the images to read, with what results call them by; images are told by their names.
        where: what errors call the file of image ids.
        cache: where the decoded masks are kept for the next time.

    Raises:
        InputError: if the folder is not of this layout, or the ids do not fit it.
    """
    reader = FoldersReader(root)
    records = {record.name: record for record in reversed(reader.records())}  # of namesakes the first, without problem
    numbers, notes = match_ids(records, ids, where)
    images: list[ImageTruth] = []
    unreadable: list[Unreadable] = []
    for name, number in track(numbers.items(), "Reading the truth", total=len(numbers)):
        try:
            images.append(ImageTruth.of(cache.load(reader, records[name]), number))
        except CacheError:
            raise
        except InputError as error:
            unreadable.append(Unreadable(name, number, error.problems))
    if not images:
        raise_problems([problem for image in unreadable for problem in image.problems])
    return Truth(tuple(images), dict(enumerate(reader.class_names, 1)), tuple(unreadable), notes)


def match_ids(
    names: Iterable[str], ids: Sequence[ImageEntry], where: str
) -> tuple[dict[str, ImageId], tuple[str, ...]]:
    """Find the images that a file of image ids lists.

    Args:
        names: the images of the truth.
        ids: the entries of the file; a file name stands for the image of that name without folder and suffix.
        where: what errors call the file.

    Returns:
        Name -> id of the listed images in the file's order, and a note if the truth has others.

    Raises:
        InputError: if an id or an image is listed twice, or a listed image is not in the truth.
    """
    known = dict.fromkeys(names)
    listed = [_name(entry["file_name"], known) for entry in ids]
    problems = [
        f"{where} lists image id {number} {count} times: give each image its own."
        for number, count in Counter(entry["id"] for entry in ids).items()
        if count > 1
    ]
    problems += [f"{where} lists image {name} {count} times." for name, count in Counter(listed).items() if count > 1]
    missing = [name for name in listed if name not in known]
    if missing:
        problems.append(
            f"{where} lists images that the truth lacks ({some(missing)}; there are {some(known)}): "
            "evaluate results of images that have a truth, with ids= of these."
        )
    raise_problems(problems)
    others = len(known) - len(listed)
    note = (f"Images of the truth that {where} does not list are not evaluated: {others}.",) if others else ()
    return dict(zip(listed, (entry["id"] for entry in ids), strict=True)), note


def _name(file_name: str, known: Mapping[str, object]) -> str:
    """Return the name of an image: its file name without folder, and without suffix unless that is part of the name."""
    name = path_parts(file_name)[-1]
    return name if name in known else Path(name).stem
