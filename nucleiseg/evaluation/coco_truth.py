"""Read the truth from a COCO JSON file (https://cocodataset.org/#format-data): images, annotations, categories."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from nucleiseg.errors import InputError, raise_problems, short, some
from nucleiseg.evaluation.boxes import Box, given_or_tight, read_box
from nucleiseg.evaluation.fields import MOST_CLASSES, image_id, image_size, read_label
from nucleiseg.evaluation.instances import CrowdRegion
from nucleiseg.evaluation.painting import areas
from nucleiseg.evaluation.truth import ImageId, ImageTruth, Truth
from nucleiseg.foreign_files import read_json
from nucleiseg.inference.image_folder import image_names
from nucleiseg.inference.image_ids import path_parts
from nucleiseg.rle import RLE
from nucleiseg.segmentations import to_rle

FORM = 'a COCO file with "images", "annotations" and "categories"'

CROWD = {None: False, 0: False, "0": False, 1: True, "1": True}
"""Values of "iscrowd" in COCO files."""


@dataclass(frozen=True)
class _Annotation:
    number: int
    """Place in the file, counted from 1."""
    label: int
    mask: RLE
    box: Box | None
    is_crowd: bool


def read_coco(path: Path) -> Truth:
    """Read the truth from a COCO JSON file.

    Args:
        path: the file. Masks are polygons, run lengths or compressed run lengths. Annotations without a pixel (of fewer
            than three points, of an area of zero) are left out, with a note. Crowd regions (`iscrowd`) are kept apart.

    Raises:
        InputError: if the file is of another kind, or with a sentence for each entry that is not valid.
    """
    document = read_json(path)
    lists = [document.get(key) for key in ("images", "annotations")] if isinstance(document, dict) else []
    if len(lists) != 2 or not all(isinstance(entries, list) for entries in lists) or not lists[0]:
        raise InputError(f"truth={path} is not {FORM}; a folder of masks (NAME/images, NAME/masks) is accepted too.")
    where = f"truth={path}"
    images = _images(document["images"], where)
    declared = _declared(document.get("categories"), where)
    annotations, empty, unlabelled = _annotations(document["annotations"], images, declared, where)
    problems: list[str] = []
    annotated = tuple(
        _with_instances(image, annotations.get(number, []), where, problems, empty) for number, image in images.items()
    )
    raise_problems(problems)
    if empty and len(empty) == len(document["annotations"]):
        raise InputError(
            f"{where}: none of its {len(empty)} annotations has a mask with a pixel; boxes are not evaluated."
        )
    labels = {label for image in annotated for label in [*image.labels, *(region.label for region in image.crowd)]}
    categories = {label: str(label) for label in sorted(labels)} | declared
    if len(categories) > MOST_CLASSES:
        raise InputError(f"{where} has {len(categories):,} classes; up to {MOST_CLASSES:,} are evaluated.")
    return Truth(annotated, categories, notes=_notes(annotated, sorted(empty), unlabelled, categories))


def _images(entries: Sequence[Any], where: str) -> dict[ImageId, ImageTruth]:
    """Check the list of images; return each by its id, still without instances."""
    images: dict[ImageId, ImageTruth] = {}
    files: dict[ImageId, str] = {}
    problems = []
    for place, entry in enumerate(entries, 1):
        fields = entry if isinstance(entry, dict) else {}
        number = image_id(fields.get("id"))
        if number is None:
            problems.append(
                f'{where}: image {place} needs an "id" and a "height" and "width" in pixels; its id is '
                f"{short(fields.get('id'))}, where a whole number or a text is accepted."
            )
        elif number in images:
            problems.append(f"{where}: image id {short(number)} stands for two images: give each its own.")
        else:
            try:
                height, width = image_size(fields)
            except ValueError as error:
                problems.append(f"{where}: image {place} (id {short(number)}) {error}.")
            else:
                name = fields.get("file_name")
                files[number] = name if isinstance(name, str) and path_parts(name) else str(number)
                images[number] = ImageTruth(name="", image_id=number, height=height, width=width, masks=[], labels=[])
    raise_problems(problems)
    # the file without folders and suffix names an image; files that would share a name keep folders or suffixes
    paths = {number: PurePosixPath("/".join(path_parts(file))) for number, file in files.items()}
    distinct = set(paths.values())  # two entries of one file share a name
    counts = Counter(path.stem for path in distinct)
    repeated = sorted(path for path in distinct if counts[path.stem] > 1)
    long_names = dict(zip(repeated, image_names(repeated), strict=True))
    return {number: replace(images[number], name=long_names.get(path, path.stem)) for number, path in paths.items()}


def _annotations(
    entries: Sequence[Any], images: Mapping[ImageId, ImageTruth], declared: Mapping[int, str], where: str
) -> tuple[dict[ImageId, list[_Annotation]], list[int], int]:
    """Check the list of annotations.

    Returns:
        The annotations by their image, the places in the file of those without a polygon, and how many have no class.
    """
    grouped: dict[ImageId, list[_Annotation]] = {}
    problems: list[str] = []
    empty: list[int] = []
    unlabelled = 0
    only_label = next(iter(declared), 1) if len(declared) < 2 else None
    for place, entry in enumerate(entries, 1):
        fields = entry if isinstance(entry, dict) else {}
        number = image_id(fields.get("image_id"))
        label = fields.get("category_id")
        if label is None and number is not None and only_label is not None:
            label, unlabelled = only_label, unlabelled + 1
        if number is None or label is None or "segmentation" not in fields:
            problems.append(f'{where}: annotation {place} needs "image_id", "category_id" and "segmentation".')
            continue
        if number not in images:
            problems.append(f"{where}: annotation {place} is of image id {short(number)}, which is not in its images.")
            continue
        image = images[number]
        try:
            mask = to_rle(fields["segmentation"], image.height, image.width)
            annotation = (place, read_label(label, declared), read_box(fields, image.height, image.width))
            value = fields.get("iscrowd")
            if isinstance(value, dict | list) or value not in CROWD:
                raise ValueError(f"has the iscrowd {short(value)} instead of 0 or 1")
            is_crowd = CROWD[value]
        except ValueError as error:
            problems.append(f"{where}: annotation {place} {error} (image {some([image.name])}, id {short(number)}).")
            continue
        if mask is None:
            empty.append(place)
        else:
            grouped.setdefault(number, []).append(_Annotation(*annotation[:2], mask, annotation[2], is_crowd))
    raise_problems(problems)
    return grouped, empty, unlabelled


def _with_instances(
    image: ImageTruth, annotations: Sequence[_Annotation], where: str, problems: list[str], empty: list[int]
) -> ImageTruth:
    """Return the image with its instances and crowd regions, but for those without a pixel."""
    pixels = areas([annotation.mask for annotation in annotations], image.height, image.width).tolist()
    damaged = [annotation.number for annotation, count in zip(annotations, pixels, strict=True) if count < 0]
    if damaged:
        problems.append(
            f"{where}: the run lengths of annotations {some(damaged)} (image {some([image.name])}) are damaged, or do "
            f"not add up to {image.height} x {image.width} pixels."
        )
        return image
    empty += [annotation.number for annotation, count in zip(annotations, pixels, strict=True) if not count]
    kept = [annotation for annotation, count in zip(annotations, pixels, strict=True) if count]
    instances = [annotation for annotation in kept if not annotation.is_crowd]
    masks = [annotation.mask for annotation in instances]
    return replace(
        image,
        masks=masks,
        labels=[annotation.label for annotation in instances],
        boxes=given_or_tight([annotation.box for annotation in instances], masks),
        crowd=tuple(CrowdRegion(item.mask, item.label, item.box) for item in kept if item.is_crowd),
    )


def _declared(entries: Any, where: str) -> dict[int, str]:  # noqa: ANN401
    """Check the list of categories, if there is one; return the name of each class by its number."""
    if not isinstance(entries, list | None):
        raise InputError(f'{where}: "categories" is a {type(entries).__name__}; expected is a list.')
    names: dict[int, str] = {}
    problems = []
    for place, entry in enumerate(entries or (), 1):
        number = entry.get("id") if isinstance(entry, dict) else None
        try:
            label = read_label(number, {})
        except ValueError:
            problems.append(
                f'{where}: category {place} has the id {short(number)}: it needs an "id" that is a whole number, as '
                'the "category_id" of the annotations is.'
            )
        else:
            name = entry.get("name")
            names[label] = name if isinstance(name, str) else str(label)
    raise_problems(problems)
    return names


def _notes(
    images: Sequence[ImageTruth], empty: Sequence[int], unlabelled: int, categories: Mapping[int, str]
) -> tuple[str, ...]:
    """Return sentences on how the file was read, for readers of the metrics."""
    notes = []
    if empty:
        notes.append(
            f"Annotations of the truth without a pixel are left out: {len(empty)} (number {some(empty)} in the file)."
        )
    if unlabelled:
        name = next(iter(categories.values()), "1")
        notes.append(f"Annotations of the truth without a category count as {name}: {unlabelled}.")
    regions = sum(len(image.crowd) for image in images)
    if regions:
        notes.append(
            f"Crowd regions of the truth (iscrowd): {regions}. As in COCO, average precision neither misses them nor "
            "counts results inside of them as false; the metrics of label maps and the counts leave out the regions "
            "and the results that lie mostly inside of them."
        )
    return tuple(notes)
