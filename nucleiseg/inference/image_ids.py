"""Read a file of image ids, under which result files list the images.

Such a file is the homework board's `test_img_ids.json`, a list of `{"file_name", "id", "height", "width"}`, or a COCO
file with such a list under "images"; `predict.py` writes one, `images.json`.
"""

import re
from collections import Counter
from pathlib import Path
from typing import Any, TypedDict

from nucleiseg.errors import InputError, raise_problems
from nucleiseg.foreign_files import read_json

ImageId = int | str
"""The id of an image in result files; COCO has numbers, some tools write texts."""

FORM = '{"file_name", "id", "height", "width"}'


class ImageEntry(TypedDict):
    """One image in a file of image ids; height and width may be absent or null."""

    file_name: str
    height: int
    width: int
    id: ImageId


def path_parts(file_name: str) -> list[str]:
    """Split a file name at slashes and backslashes, without empty parts, `.` and `..`.

    Files of image ids are written on Windows too, which separates folders by backslashes.
    """
    return [part for part in re.split(r"[/\\]", file_name) if part not in ("", ".", "..")]


def read_ids(path: Path) -> list[ImageEntry]:
    """Read a file of image ids.

    Ids are whole numbers or texts, sizes whole numbers; whole numbers written as floats (3.0) are turned into integers.

    Args:
        path: a JSON list of `{"file_name", "id", "height", "width"}`, or a COCO file with one under "images".

    Raises:
        InputError: with a sentence for each entry that is not of this form.
    """
    document = read_json(path, finite=True)
    entries = document.get("images") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: expected a list of {FORM}, found none.")
    problems: list[str] = []
    checked = [_check_entry(entry, f"{path}: entry {number}", problems) for number, entry in enumerate(entries, 1)]
    raise_problems(problems)
    return checked


def require_unique(entries: list[ImageEntry], path: Path) -> None:
    """Refuse a file of image ids that lists an image or an id twice.

    Ids that are written alike (1 and "1") count as one: in `counts.csv` they look the same.

    Raises:
        InputError: with a sentence for each image and each id that is repeated.
    """
    names = Counter("/".join(path_parts(entry["file_name"])) for entry in entries)
    ids = Counter(str(entry["id"]) for entry in entries)
    problems = [
        f"{path} lists {name} {count} times: list each image once, under one id."
        for name, count in names.items()
        if count > 1
    ]
    for image_id, count in ids.items():
        if count > 1:
            files = ", ".join(entry["file_name"] for entry in entries if str(entry["id"]) == image_id)
            problems.append(f"Image id {image_id} stands for {count} images ({files}): give each its own.")
    raise_problems(problems)


def _check_entry(entry: Any, where: str, problems: list[str]) -> ImageEntry:  # noqa: ANN401
    """Return an entry with its numbers as integers; append a sentence where it is not of the form."""
    if not isinstance(entry, dict):
        problems.append(f"{where} is {entry!r}: expected {FORM}.")
        return ImageEntry(file_name="", height=0, width=0, id=0)
    name = entry.get("file_name")
    if not isinstance(name, str) or not path_parts(name):
        problems.append(f'{where} has no "file_name": {entry!r}.')
    numbers = {key: entry[key] for key in ("id", "height", "width") if key in entry}
    for key, value in numbers.items():
        if isinstance(value, float) and value.is_integer():  # 3.0 stands for 3
            numbers[key] = int(value)
    image_id = numbers.get("id")
    if not (type(image_id) is int or (isinstance(image_id, str) and image_id.strip())):
        problems.append(f'{where} ({name}): "id" is {image_id!r}; it accepts a whole number or a text.')
    for key in ("height", "width"):
        value = numbers.get(key)
        if value is not None and (type(value) is not int or value < 1):
            problems.append(f'{where} ({name}): "{key}" is {value!r}; it accepts a whole number of at least 1.')
    return {**entry, **numbers}  # type: ignore[typeddict-item]
