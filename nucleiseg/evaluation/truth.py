"""Ground truth of a set of images: the containers, and reading it from a folder of masks with a file of image ids."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

import numpy as np

from nucleiseg.data.cache import CacheError, SampleCache, Summary
from nucleiseg.data.classes import ClassChoice, choose_classes, describe_classes
from nucleiseg.data.data_warnings import print_data_warnings
from nucleiseg.data.readers.auto import AutoReader
from nucleiseg.errors import InputError, raise_problems, some
from nucleiseg.evaluation.instances import CrowdRegion, Instances
from nucleiseg.inference.image_folder import image_names
from nucleiseg.inference.image_ids import ImageEntry, ImageId, path_parts
from nucleiseg.label_maps import measure
from nucleiseg.progress import echo, track
from nucleiseg.rle import RLE, Crop, compress, run_lengths
from nucleiseg.structures import EVERY_CLASS, NucleusClass, Sample


@dataclass(frozen=True, kw_only=True)
class ImageTruth(Instances):
    """The true instances of one image, with the image's name, id and size.

    Attributes:
        name: the image's name, unique among those that are evaluated together.
        image_id: its id in result files.
        height: rows of the image.
        width: columns of the image.
    """

    name: str
    image_id: ImageId
    height: int
    width: int

    @classmethod
    def of(cls, sample: Sample, image_id: ImageId) -> Self:
        """Take the instances of a sample, in pixels of its image; ignore regions become crowd regions."""
        height, width = sample.image.shape[:2]
        masks, labels = layer_masks(sample.layers, sample.layer_index), sample.labels.tolist()
        crowd: tuple[CrowdRegion, ...] = ()
        if sample.ignore is not None:
            regions = layer_masks(sample.ignore.layers, sample.ignore.layer_index)
            crowd = tuple(map(CrowdRegion, regions, sample.ignore.labels.tolist()))
        return cls(
            name=sample.name,
            image_id=image_id,
            height=height,
            width=width,
            masks=masks,
            labels=labels,
            crowd=crowd,
        )


class Unreadable(NamedTuple):
    """An image whose truth cannot be read.

    Attributes:
        name: the image's name.
        image_id: its id in result files.
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
        notes: sentences for readers of the metrics.
    """

    images: tuple[ImageTruth, ...]
    categories: Mapping[int, str]
    unreadable: tuple[Unreadable, ...] = ()
    notes: tuple[str, ...] = ()

    def with_categories(self, categories: Mapping[int, str]) -> tuple[Self, dict[int, int]]:
        """Find the classes of results by their names, where several are known; a class that is not here is added.

        Args:
            categories: category id in the results -> name of the class; empty if not known.

        Returns:
            The truth with all classes, and the category ids in the results -> labels of the truth.
        """
        if len(categories) < 2:
            return self, {}
        own = {name: label for label, name in self.categories.items()}
        labels = itertools.count(max([0, *self.categories]) + 1)
        numbers = {number: own[name] if name in own else next(labels) for number, name in categories.items()}
        known = {**{numbers[number]: name for number, name in categories.items()}, **self.categories}
        return replace(self, categories=known), numbers

    def renumbered(self, ids: Sequence[ImageEntry], where: str) -> "Truth":
        """Return the images that a file of image ids lists, under its ids; they are identified by their names.

        Args:
            ids: the entries of the file.
            where: what errors call the file.

        Raises:
            InputError: if the file lists an image twice, or one that is not here, or two images here are of one file.
        """
        by_name = {image.name: image for image in self.images}
        repeated = [name for name, count in Counter(image.name for image in self.images).items() if count > 1]
        if repeated:
            raise InputError(f"The truth has several images named {some(repeated)}: {where} cannot tell them apart.")
        numbers, note = match_ids(by_name, ids, where)
        images = tuple(replace(by_name[name], image_id=number) for name, number in numbers.items())
        return replace(self, images=images, notes=self.notes + note)


def layer_masks(layers: np.ndarray, layer_index: np.ndarray) -> list[RLE]:
    """Encode the instances of label-map layers, each from its own window of its layer.

    Args:
        layers: (L, H, W); instance i has the value i + 1.
        layer_index: (N,) the plane of each instance.

    Returns:
        One RLE over the whole image an instance, in their order.
    """
    height, width = layers.shape[1:]
    boxes = measure(layers).boxes.astype(int).tolist()
    runs = []
    for value, (plane, (left, top, right, bottom)) in enumerate(zip(layer_index, boxes, strict=True), 1):
        window = layers[plane, top:bottom, left:right]
        runs.append(run_lengths(Crop(top, left, window == value), height, width))
    return compress(runs, height, width)


def read_folder(
    root: Path, ids: Sequence[ImageEntry], where: str, cache: SampleCache, classes: ClassChoice = None
) -> Truth:
    """Read the truth of the listed images from a folder in any layout that is recognized, and print its data warnings.

    Args:
        root: the folder.
        ids: the images to read with their ids in result files; images are identified by their names.
        where: what errors call the file of image ids.
        cache: where the decoded masks are kept for the next time.
        classes: of the truth, see `data.classes.choose_classes`. Labels are the numbers of the annotations where all
            classes have one (COCO's category ids), else 1, 2, ...

    Raises:
        InputError: if the folder is in no known layout, or the ids or the classes do not fit it.
    """
    reader = AutoReader(root=root).resolve()
    records = {record.name: record for record in reversed(reader.records())}  # of one name the first, without problem
    numbers, notes = match_ids(records, ids, where)
    readable: dict[str, ImageId] = {}
    unreadable: list[Unreadable] = []
    summaries: list[Summary] = []
    found: Counter[NucleusClass] = Counter()
    for name, number in track(numbers.items(), "Reading the truth", total=len(numbers)):
        try:
            summaries.append(cache.prepare(reader, records[name]))
            readable[name] = number
            found.update(summaries[-1].class_counts)
        except CacheError:
            raise
        except InputError as error:
            unreadable.append(Unreadable(name, number, error.problems))
    print_data_warnings(summaries)
    if not readable:
        raise_problems([problem for image in unreadable for problem in image.problems])
    table = choose_classes(classes, found)
    if sentence := describe_classes(table, found):
        echo(sentence)
    labels = dict(enumerate(table.category_ids or range(1, len(table.classes) + 1), 1))
    samples = ((table.apply(cache.load(reader, records[name])), number) for name, number in readable.items())
    images = tuple(_numbered(ImageTruth.of(sample, number), labels) for sample, number in samples)
    return Truth(images, dict(zip(labels.values(), table.names, strict=True)), tuple(unreadable), notes)


def _numbered(image: ImageTruth, numbers: Mapping[int, int]) -> ImageTruth:
    """Return an image with other labels: label -> number of the class."""
    crowd = tuple(
        region if region.label == EVERY_CLASS else replace(region, label=numbers[region.label])
        for region in image.crowd
    )
    return replace(image, labels=[numbers[label] for label in image.labels], crowd=crowd)


def match_ids(
    names: Iterable[str], ids: Sequence[ImageEntry], where: str
) -> tuple[dict[str, ImageId], tuple[str, ...]]:
    """Find the images that a file of image ids lists.

    Args:
        names: the images of the truth, with their folders where two share the rest (`image_folder.image_names`).
        ids: the entries of the file; see `_name` for the image that a file name stands for.
        where: what errors call the file.

    Returns:
        Name -> id of the listed images in the file's order, and a note if the truth has others.

    Raises:
        InputError: if an id or an image is listed twice, or a listed image is not in the truth or could be several.
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
    """Return the name of the truth's image that a file name stands for.

    Tried in turn, with and without suffix: the whole path; the path as `predict.py` names images (NAME/images/NAME.png
    is NAME); the name without its folders; the only image whose path ends in the given one. `site1/a.png` is so found
    as `site1/a`, `a` or `cohort/site1/a`.

    Returns:
        One of `known`, else the file name without folders and suffix.
    """
    parts = path_parts(file_name)
    path, last = "/".join(parts), PurePosixPath(parts[-1])
    without_suffix = "/".join([*parts[:-1], last.stem])
    forms = [path, without_suffix, *image_names([PurePosixPath(path)]), last.name, last.stem]
    for form in forms:
        if form in known:
            return form
    endings = [name for name in known if name.endswith((f"/{path}", f"/{without_suffix}"))]
    return endings[0] if len(endings) == 1 else last.stem
