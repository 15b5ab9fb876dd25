"""Truth from a COCO JSON file (https://cocodataset.org/#format-data): images, annotations, categories."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nucleiseg.errors import InputError, raise_problems, some
from nucleiseg.evaluation.boxes import Box, given_or_tight, read_box
from nucleiseg.evaluation.label_maps import decode, sound
from nucleiseg.evaluation.segmentations import to_rle
from nucleiseg.evaluation.truth import ImageId, ImageTruth, Truth
from nucleiseg.files import read_json
from nucleiseg.inference.box_masks import RLE

FORM = 'a COCO file with "images", "annotations" and "categories"'


@dataclass(frozen=True)
class _Annotation:
    number: int
    """Place in the file, counted from 1."""
    label: int
    segmentation: Any
    box: Box | None


def read_coco(path: Path) -> Truth:
    """Read the truth from a COCO JSON file.

    Args:
        path: the file. Masks are polygons, run lengths or compressed run lengths; crowd regions are refused, because
            the label-map metrics have no notion of them.

    Raises:
        InputError: if the file is of another kind, or with a sentence for each entry that is not sound.
    """
    document = read_json(path)
    lists = [document.get(key) for key in ("images", "annotations")] if isinstance(document, dict) else []
    if len(lists) != 2 or not all(isinstance(entries, list) for entries in lists) or not lists[0]:
        raise InputError(f"truth={path} is not {FORM}; a folder of masks (NAME/images, NAME/masks) is accepted too.")
    images = _images(document["images"], str(path))
    annotations = _annotations(document["annotations"], images, str(path))
    declared = _declared(document.get("categories"), str(path))
    problems: list[str] = []
    annotated = tuple(
        _with_masks(image, annotations.get(image_id, []), f"truth={path}", problems)
        for image_id, image in images.items()
    )
    raise_problems(problems)
    empty = len(document["annotations"]) - sum(len(image.masks) for image in annotated)
    notes = (f"Annotations of the truth without a pixel are left out: {empty}.",) if empty else ()
    used = {label: str(label) for label in sorted({label for image in annotated for label in image.labels})}
    return Truth(annotated, used | declared, notes=notes)


def _images(entries: Sequence[Any], path: str) -> dict[ImageId, ImageTruth]:
    """Check the list of images; return each by its id, still without instances."""
    images: dict[ImageId, ImageTruth] = {}
    problems = []
    for number, entry in enumerate(entries, 1):
        fields = entry if isinstance(entry, dict) else {}
        image_id = fields.get("id")
        height, width = (side if isinstance(side, int) else 0 for side in (fields.get("height"), fields.get("width")))
        if not isinstance(image_id, int | str) or min(height, width) < 1:
            problems.append(f'truth={path}: image {number} needs an "id" and a "height" and "width" in pixels.')
        elif image_id in images:
            problems.append(f"truth={path}: image id {image_id} stands for two images: give each its own.")
        else:
            name = Path(str(fields.get("file_name", image_id))).stem
            images[image_id] = ImageTruth(name, image_id, height, width, [], [])
    raise_problems(problems)
    return images


def _annotations(
    entries: Sequence[Any], images: dict[ImageId, ImageTruth], path: str
) -> dict[ImageId, list[_Annotation]]:
    """Check the list of annotations; return them by their image."""
    grouped: dict[ImageId, list[_Annotation]] = {}
    problems = []
    for number, entry in enumerate(entries, 1):
        fields = entry if isinstance(entry, dict) else {}
        image_id, label = fields.get("image_id"), fields.get("category_id")
        if not isinstance(image_id, int | str) or not isinstance(label, int) or "segmentation" not in fields:
            problems.append(f'truth={path}: annotation {number} needs "image_id", "category_id" and "segmentation".')
        elif image_id not in images:
            problems.append(f"truth={path}: annotation {number} is of image id {image_id}, which is not in its images.")
        elif fields.get("iscrowd"):
            problems.append(
                f"truth={path}: annotation {number} is a crowd region (iscrowd): only instances count here."
            )
        else:
            try:
                annotation = _Annotation(number, label, fields["segmentation"], read_box(fields))
            except ValueError as error:
                problems.append(f"truth={path}: annotation {number} {error}.")
            else:
                grouped.setdefault(image_id, []).append(annotation)
    raise_problems(problems)
    return grouped


def _with_masks(image: ImageTruth, annotations: Sequence[_Annotation], where: str, problems: list[str]) -> ImageTruth:
    """Return the image with the masks of its annotations, but for those without a pixel."""
    masks: list[RLE] = []
    for annotation in annotations:
        try:
            masks.append(to_rle(annotation.segmentation, image.height, image.width))
        except ValueError as error:
            problems.append(f"{where}: annotation {annotation.number} (image {image.name}) {error}.")
    if len(masks) < len(annotations):
        return image
    broken = (~sound(masks, image.height, image.width)).nonzero()[0].tolist()
    if broken:
        numbers = some(annotations[index].number for index in broken)
        problems.append(f"{where}: the run lengths of annotations {numbers} (image {image.name}) are damaged.")
        return image
    kept = decode(masks).areas(len(masks)).nonzero()[0].tolist()
    masks = [masks[index] for index in kept]
    annotations = [annotations[index] for index in kept]
    return replace(
        image,
        masks=masks,
        labels=[annotation.label for annotation in annotations],
        boxes=given_or_tight([annotation.box for annotation in annotations], masks),
    )


def _declared(entries: Any, path: str) -> dict[int, str]:  # noqa: ANN401
    """Check the list of categories, if there is one; return the name of each class by its number."""
    if not isinstance(entries, list | None):
        raise InputError(f'truth={path}: "categories" is a {type(entries).__name__}; expected is a list.')
    names: dict[int, str] = {}
    problems = []
    for number, entry in enumerate(entries or (), 1):
        label = entry.get("id") if isinstance(entry, dict) else None
        if isinstance(label, int):
            names[label] = str(entry.get("name", label))
        else:
            problems.append(
                f'truth={path}: category {number} has the id {label!r}: it needs an "id" that is a whole number, as '
                'the "category_id" of the annotations is.'
            )
    raise_problems(problems)
    return names
