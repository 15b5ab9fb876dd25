"""List the images to predict: an image file, a folder, or a JSON file of image ids (`inference.image_ids`).

Images without ids are numbered from 1 in natural order. `inference.image_folder` names them.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from nucleiseg.data.readers.images import decode_image
from nucleiseg.data.readers.listing import IMAGE_SUFFIXES, list_files
from nucleiseg.errors import InputError, some
from nucleiseg.files import require_regular_file
from nucleiseg.inference.image_folder import FolderListing, image_names, list_images
from nucleiseg.inference.image_ids import ImageEntry, ImageId, path_parts, read_ids, require_unique
from nucleiseg.progress import counted, echo

LARGEST_LISTING = 50_000_000
"""Bytes of a JSON file up to which it is opened to check whether it gives other ids to the images beside it."""


@dataclass(frozen=True)
class InputImage:
    """An image to predict.

    Attributes:
        name: unique among the inputs: its path below the input folder without suffix (`image_folder.image_names`).
        path: its file; it may be missing or unreadable, which `read` reports.
        image_id: its id in result files.
        height: rows that the file of image ids announces, if any.
        width: columns that the file of image ids announces, if any.
        file_name: its name in files of image ids: as it is listed there, else its path below the input folder with
            `/` between folders. By default the name of the file.
        problem: why it cannot be read, if the listing has shown that.
    """

    name: str
    path: Path
    image_id: ImageId
    height: int | None = None
    width: int | None = None
    file_name: str = ""
    problem: str | None = None

    def __post_init__(self) -> None:
        if not self.file_name:
            object.__setattr__(self, "file_name", self.path.name)

    def read(self, bits: int | None = None) -> np.ndarray:
        """Decode the image.

        Args:
            bits: the camera's bits per pixel in files that have 16, see `data.readers.images.to_eight_bits`.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            InputError: if the file is missing, not a regular file or not an image, or of another size than announced.
        """
        if self.problem is not None:
            raise InputError(self.problem)
        require_regular_file(self.path)
        image = decode_image(self.path, bits)
        height, width = image.shape[:2]
        if (self.height or height, self.width or width) != (height, width):
            raise InputError(
                f"{self.path} is {width} pixels wide and {height} high, but {self.width} and "
                f"{self.height} in the file of image ids: a board would refuse its masks. Put the right image there, "
                "or correct the file."
            )
        return image

    def entry(self, height: int, width: int) -> ImageEntry:
        """Return the image's line in a file of image ids."""
        return ImageEntry(file_name=self.file_name, height=height, width=width, id=self.image_id)


def find_images(source: str | os.PathLike[str], ids: str | os.PathLike[str] | None = None) -> list[InputImage]:
    """List the images to predict, without decoding any.

    Entries of a folder that are left out are logged, and the numbering, with a warning if a JSON file in the folder or
    in the one above gives the images other ids: a board accepts results under wrong ids in silence.

    Args:
        source: an image file; a folder with images, in folders of any depth (`image_folder.list_images`); or a JSON
            file of image ids, its images beside it or in `test/` beside it.
        ids: a JSON file of image ids for an image or a folder: its images are predicted, under its ids.

    Returns:
        The images; in the order of the file of image ids, else in natural order with ids from 1. A folder that cannot
        be listed, or an image that is listed but missing, is one with a `problem`.

    Raises:
        InputError: if there is no image, the JSON file is malformed, or it lists an image or an id twice.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"input={path} does not exist: give an image, a folder of images or a JSON file of image ids.")
    if path.suffix.lower() == ".json" and not path.is_dir():
        if ids is not None:
            raise InputError(f"input={path} already holds the image ids: leave out ids={ids}.")
        entries = read_ids(path)
        require_unique(entries, path)
        return _listed(entries, list(_beside(entries, (path.parent, path.parent / "test"))))
    if path.is_dir():
        root, listing = path, _list_folder(path)
    else:
        root, listing = path.parent, FolderListing([path])
    if ids is None:
        return _numbered(listing, root)
    for sentence in listing.problems.values():  # the images there are reported as missing, too
        echo(sentence)
    entries = read_ids(Path(ids))
    require_unique(entries, Path(ids))
    return _with_ids(entries, listing.images, path)


def _list_folder(folder: Path) -> FolderListing:
    """List a folder's images, and log the entries that are left out.

    Raises:
        InputError: if there is no image.
    """
    listing = list_images(folder)
    if sentence := listing.passed_over(folder):
        echo(sentence)
    if not listing.images:
        if listing.problems:
            raise InputError(list(listing.problems.values()))
        listings = ", ".join(path.name for path in _json_files(folder))
        hint = f" It holds {listings}: is that the file of image ids to give as input?" if listings else ""
        raise InputError(f"input={folder} holds no image ({' '.join(IMAGE_SUFFIXES)}).{hint}")
    return listing


def _numbered(listing: FolderListing, root: Path) -> list[InputImage]:
    """Number images from 1, and warn where they have other ids; folders that cannot be listed come last."""
    paths = [*listing.images, *listing.problems]
    below = [PurePosixPath(path.relative_to(root).as_posix()) for path in paths]
    images = [
        InputImage(name, path, number, file_name=file.as_posix(), problem=listing.problems.get(path))
        for number, (name, path, file) in enumerate(zip(image_names(below), paths, below, strict=True), 1)
    ]
    for other in _listings_of_other_ids(images, (root, Path(os.path.normpath(root / "..")))):
        echo(
            f"Warning: {other} gives these images other ids: ids={other} uses them; they are numbered from 1 in "
            f"natural order here."
        )
    echo(f"Numbered 1..{len(images)} in natural order (images.json lists the id of each).")
    return images


def _listings_of_other_ids(images: list[InputImage], folders: Iterable[Path]) -> Iterator[Path]:
    """Yield the files of image ids in the folders that list some of the images under other ids than theirs."""
    for file in (file for folder in folders for file in _json_files(folder)):
        try:
            if require_regular_file(file) > LARGEST_LISTING:
                continue
            entries = read_ids(file)
        except InputError:
            continue  # some other JSON file
        listed = {path_parts(entry["file_name"])[-1]: entry["id"] for entry in entries}
        listed |= {"/".join(path_parts(entry["file_name"])): entry["id"] for entry in entries}
        ids = ((image, listed.get(image.file_name, listed.get(image.path.name, image.image_id))) for image in images)
        if any(image_id != image.image_id for image, image_id in ids):
            yield file


def _json_files(folder: Path) -> list[Path]:
    try:
        return list_files(folder, (".json",))
    except InputError:  # the folder above may be another user's
        return []


def _listed(entries: Sequence[ImageEntry], found: Sequence[tuple[Path, str | None]]) -> list[InputImage]:
    """Return the images of a file of image ids, with the path of each and why it cannot be read, if so."""
    names = image_names([PurePosixPath("/".join(path_parts(entry["file_name"]))) for entry in entries])
    return [
        InputImage(name, path, entry["id"], entry.get("height"), entry.get("width"), entry["file_name"], problem)
        for name, entry, (path, problem) in zip(names, entries, found, strict=True)
    ]


def _beside(entries: Sequence[ImageEntry], folders: Sequence[Path]) -> Iterator[tuple[Path, str | None]]:
    """Look for listed images in folders: under the name as it is, with `/` for backslashes, and without its folders.

    Without its folders only where no other entry has the same name.
    """
    last = Counter(path_parts(entry["file_name"])[-1] for entry in entries)
    for entry in entries:
        parts = path_parts(entry["file_name"])
        names = [entry["file_name"], "/".join(parts)] + ([parts[-1]] if last[parts[-1]] == 1 else [])
        places = list(dict.fromkeys(folder / name for folder in folders for name in names))
        found = next((place for place in places if os.path.lexists(place)), None)
        yield found or places[-1], None if found else _missing(entry, places)


def _with_ids(entries: Sequence[ImageEntry], files: list[Path], source: Path) -> list[InputImage]:
    """Give files their ids: listed images by their path below the folder, else by their name if one file has it.

    A folder's listed image that is missing stays in the list with a problem; of one file, all others are left out.
    """
    root = source if source.is_dir() else source.parent
    by_path = {file.relative_to(root).as_posix(): file for file in files}
    by_name = defaultdict(list)
    for file in files:
        by_name[file.name].append(file)
    matches: list[list[Path]] = []
    for entry in entries:
        parts = path_parts(entry["file_name"])
        exact = by_path.get(entry["file_name"]) or by_path.get("/".join(parts))
        matches.append([exact] if exact else by_name.get(parts[-1], []))
    if not any(matches):
        raise InputError(
            f"No image of {source} is listed in the file of image ids; "
            f"it lists {some(entry['file_name'] for entry in entries)}."
        )
    chosen = [(entry, match) for entry, match in zip(entries, matches, strict=True) if match or source.is_dir()]
    used = Counter(file for _, match in chosen for file in match)
    if unlisted := [file.relative_to(root) for file in files if file not in used]:
        echo(f"{counted(len(unlisted), 'image')} not listed in the file of image ids passed over: {some(unlisted)}.")
    found: list[tuple[Path, str | None]] = []
    for entry, match in chosen:
        if not match:
            place = root / entry["file_name"]
            found.append((place, _missing(entry, [place])))
        elif len(match) > 1 or used[match[0]] > 1:
            where = " or ".join(str(file.relative_to(root)) for file in match)
            problem = f"{entry['file_name']} of the file of image ids could be {where}, which other entries may be too"
            found.append((match[0], f"{problem}: write the path below {root} as its file_name."))
        else:
            found.append((match[0], None))
    return _listed([entry for entry, _ in chosen], found)


def _missing(entry: ImageEntry, places: Sequence[Path]) -> str:
    wanted = " or ".join(map(str, places))
    return f"{entry['file_name']} is listed in the file of image ids, but missing: put it at {wanted}."
