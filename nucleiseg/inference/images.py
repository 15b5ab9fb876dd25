"""What prediction takes as input: an image, a folder of images, or a JSON file of image ids.

The JSON file is the homework board's `test_img_ids.json`, a list of `{"file_name", "id", "height", "width"}`, or a COCO
file with such a list under "images". The ids are what a submission calls the images by; where nobody gave any, images
are numbered from 1 in natural order.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from nucleiseg.data.readers.images import decode_image
from nucleiseg.data.readers.listing import IMAGE_SUFFIXES, list_files, list_folders
from nucleiseg.errors import InputError, some
from nucleiseg.files import read_json
from nucleiseg.progress import say


class ImageEntry(TypedDict):
    """One image in a file of image ids, such as `test_img_ids.json` and our `images.json`."""

    file_name: str
    height: int
    width: int
    id: int


@dataclass(frozen=True)
class InputImage:
    """An image to predict.

    Attributes:
        name: its file name without suffix, unique among the inputs.
        path: its file; whether it exists and can be read turns out when `read` is called.
        image_id: what a submission calls it by.
        height: rows that the file of image ids announces, if any.
        width: columns that the file of image ids announces, if any.
        places: every path that a listed image was looked for at, where it is at none of them.
    """

    name: str
    path: Path
    image_id: int
    height: int | None = None
    width: int | None = None
    places: tuple[Path, ...] = ()

    def read(self, bits: int | None = None) -> np.ndarray:
        """Decode the image.

        Args:
            bits: the camera's bits per pixel in files that have 16, see `data.readers.images.to_eight_bits`.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            InputError: if the file is missing or no image, or its size is not the announced one.
        """
        if not self.path.is_file():
            places = " or ".join(map(str, self.places or (self.path,)))
            raise InputError(f"{self.path.name} is listed in the file of image ids, but missing: put it at {places}.")
        image = decode_image(self.path, bits)
        height, width = image.shape[:2]
        if (self.height or height, self.width or width) != (height, width):
            raise InputError(
                f"{self.path} is {width} pixels wide and {height} high, but the file of image ids says {self.width} "
                f"and {self.height}: a board would refuse its masks. Put the right image there, or correct the file."
            )
        return image

    def entry(self, height: int, width: int) -> ImageEntry:
        """Return the image's line in a file of image ids."""
        return ImageEntry(file_name=self.path.name, height=height, width=width, id=self.image_id)


def find_images(source: str | os.PathLike[str], ids: str | os.PathLike[str] | None = None) -> list[InputImage]:
    """List the images to predict, without decoding any.

    Images that nobody gave ids are numbered. That is said, with a warning if a JSON file in their folder or in the one
    above gives them other ids: a board would take a submission under the wrong ones without a word.

    Args:
        source: an image file; a folder of images (or of folders `NAME/images/`); or a JSON file of image ids, its
            images beside it or in `test/` beside it. Hidden files and folders such as `.ipynb_checkpoints` are not
            looked at.
        ids: a JSON file of image ids for an image or a folder: its images are predicted, under its ids.

    Returns:
        The images; in the order of the file of image ids, else in natural order with ids from 1.

    Raises:
        InputError: if there is nothing to predict, the JSON file is malformed, or two images have one name or id.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"input={path} does not exist: give an image, a folder of images or a JSON file of image ids.")
    if path.suffix.lower() == ".json":
        if ids is not None:
            raise InputError(f"input={path} already holds the image ids: leave out ids={ids}.")
        images = [_listed(entry, (path.parent, path.parent / "test")) for entry in read_ids(path)]
    else:
        files = _image_files(path) if path.is_dir() else [path]
        images = _numbered(files, path) if ids is None else _with_ids(files, read_ids(Path(ids)), path)
    _refuse_duplicates(images)
    return images


def read_ids(path: Path) -> list[ImageEntry]:
    """Read a file of image ids.

    Args:
        path: a JSON list of `{"file_name", "id", "height", "width"}`, or a COCO file with one under "images".

    Raises:
        InputError: naming the first entry that is not so.
    """
    document = read_json(path)
    entries = document.get("images") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path}: expected a list of {{"file_name", "id", "height", "width"}}, found none.')
    for number, entry in enumerate(entries, 1):
        _check_entry(entry, f"{path}: entry {number}")
    return entries


def _check_entry(entry: Any, where: str) -> None:  # noqa: ANN401
    if not isinstance(entry, dict):
        raise InputError(f'{where} is {entry!r}: expected {{"file_name", "id", "height", "width"}}.')
    if not isinstance(entry.get("file_name"), str) or not entry["file_name"]:
        raise InputError(f'{where} has no "file_name": {entry!r}.')
    for key in ("id", "height", "width"):
        value = entry.get(key)
        if not isinstance(value, int) and not (value is None and key != "id"):
            raise InputError(f'{where} ({entry["file_name"]}): "{key}" must be a whole number, not {value!r}.')


def _listed(entry: ImageEntry, folders: Iterable[Path]) -> InputImage:
    """Return the image of an entry in the first folder that holds it (or should have, where none does)."""
    places = tuple(folder / entry["file_name"] for folder in folders)
    found = next((place for place in places if place.is_file()), None)
    path = found or places[-1]
    missing = () if found else places
    return InputImage(path.stem, path, entry["id"], entry.get("height"), entry.get("width"), missing)


def _image_files(folder: Path) -> list[Path]:
    files = list_files(folder, IMAGE_SUFFIXES)
    if not files:
        files = [file for inner in list_folders(folder) for file in list_files(inner / "images", IMAGE_SUFFIXES)]
    if not files:
        listings = ", ".join(path.name for path in list_files(folder, (".json",)))
        hint = f" It holds {listings}: is that the file of image ids to give as input?" if listings else ""
        raise InputError(f"input={folder} holds no image ({' '.join(IMAGE_SUFFIXES)}).{hint}")
    return files


def _numbered(files: list[Path], source: Path) -> list[InputImage]:
    """Number files from 1, and say where they have other ids."""
    images = [InputImage(file.stem, file, number) for number, file in enumerate(files, 1)]
    folder = source if source.is_dir() else source.parent
    for listing in _listings_of_other_ids(images, (folder, Path(os.path.normpath(folder / "..")))):
        say(
            f"Warning: {listing} gives these images other ids: ids={listing} uses them; they are numbered from 1 in "
            f"natural order here."
        )
    say(f"Numbered 1..{len(images)} in natural order (images.json says which image has which id).")
    return images


def _listings_of_other_ids(images: list[InputImage], folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of image ids in the folders that list some of the images under other ids than theirs."""
    numbers = {image.path.name: image.image_id for image in images}
    for listing in (file for folder in folders for file in list_files(folder, (".json",))):
        try:
            entries = read_ids(listing)
        except InputError:
            continue  # some other JSON file
        listed = {Path(entry["file_name"]).name: entry["id"] for entry in entries}
        if any(listed.get(name, number) != number for name, number in numbers.items()):
            yield listing


def _with_ids(files: list[Path], entries: list[ImageEntry], source: Path) -> list[InputImage]:
    """Give files their ids; a folder's listed image that is missing stays in the list, to be reported by `read`."""
    by_name = {file.name: file for file in files}
    known = [entry for entry in entries if Path(entry["file_name"]).name in by_name]
    if not known:
        listed = some(entry["file_name"] for entry in entries)
        raise InputError(f"No image of {source} is listed in the file of image ids; it lists {listed}.")
    return [
        InputImage(path.stem, path, entry["id"], entry.get("height"), entry.get("width"))
        for entry in (entries if source.is_dir() else known)
        for path in [by_name.get(Path(entry["file_name"]).name, source / entry["file_name"])]
    ]


def _refuse_duplicates(images: list[InputImage]) -> None:
    problems = []
    for name, count in Counter(image.name for image in images).items():
        if count > 1:
            paths = " and ".join(str(image.path) for image in images if image.name == name)
            problems.append(f"{count} images are named {name} ({paths}): results are filed by name, so rename them.")
    for image_id, count in Counter(image.image_id for image in images).items():
        if count > 1:
            names = ", ".join(image.path.name for image in images if image.image_id == image_id)
            problems.append(f"Image id {image_id} stands for {count} images ({names}): give each its own.")
    if problems:
        raise InputError(problems)
