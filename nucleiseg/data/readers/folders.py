"""One folder an image, one file a nucleus: the layout of the VRDL homework, DSB2018 and matterport's examples."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from nucleiseg.data.layers import pack
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.images import CAMERA_DEPTHS, decode_image, decode_mask
from nucleiseg.data.readers.listing import IMAGE_SUFFIXES, MASK_SUFFIXES, list_files, list_folders
from nucleiseg.errors import InputError
from nucleiseg.progress import say
from nucleiseg.structures import Sample

LAYOUT = "NAME/images/NAME.png and NAME/masks/*.png (one file a nucleus) for every image"
VERSION = "folders 2"
"""Goes into every content key: raise it when the same files are to be read differently."""

NAMES_SHOWN = 5

MASKS_AT_ONCE = 64
"""Decoded masks that may wait for the packing: bounds the memory (1 MB each for 1000 x 1000 pixels)."""


@dataclass(frozen=True)
class FoldersReader(Reader):
    """Reads ROOT/NAME/images/NAME.png with ROOT/NAME/masks/*.png.

    An image is named by its file. A mask file is one instance, also where it has several components; masks may
    touch and overlap. An empty mask is skipped and counted; an image without masks has no nucleus, which is fine
    as long as others have some. Hidden files, folders such as `.ipynb_checkpoints` and files of other kinds are
    passed over.

    Args:
        root: the folder that holds one folder an image; a number is taken for its name, as YAML reads 2024.
        bits: the camera's bits a pixel in files that have 16; None: by each image's brightest value.

    Raises:
        InputError: when `bits` is none of `CAMERA_DEPTHS`.
    """

    root: str | Path | int
    bits: int | None = None

    class_names: ClassVar[tuple[str, ...]] = ("nucleus",)
    drawn: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.bits is not None and (type(self.bits) is not int or self.bits not in CAMERA_DEPTHS):
            accepted = ", ".join(map(str, CAMERA_DEPTHS))
            raise InputError(f"data.bits={self.bits} is not accepted: give {accepted}, or null.")

    def records(self) -> list[Record]:
        """List the images in natural order of their folders.

        Raises:
            InputError: if the root does not exist, holds nothing of this layout, or no image there has a mask.
        """
        root = Path(str(self.root)).expanduser()
        if not root.is_dir():
            found = "is a file, not a folder" if root.exists() else "does not exist"
            raise InputError(f"The data folder {root} {found}: set data.root to a folder with {LAYOUT}.")
        folders = list_folders(root)
        listed = [_list_or_problem(folder) for folder in folders]
        records = _mark_namesakes([record for record in listed if record is not None])
        if not records:
            raise InputError(f"The data folder {root} holds nothing to read: {_advice(root)}.")
        if not any(record.masks for record in records):
            problems = [record.problem for record in records if record.problem is not None]
            which = (
                f"The only image in {root} has no"
                if len(records) == 1
                else f"None of the {len(records)} images in {root} has a"
            )
            none = f"{which} mask: put a file for each nucleus in NAME/masks."
            raise InputError([none, *problems])
        _say_passed_over(root, [folder.name for folder, record in zip(folders, listed, strict=True) if record is None])
        return records

    def read(self, record: Record) -> Sample:
        """Decode one image and pack its masks.

        Raises:
            InputError: with a sentence for each file that cannot be used.
        """
        if record.problem is not None or record.image is None:
            raise InputError(record.problem or f"{record.name} has no image file.")
        problems: list[str] = []
        try:
            image = decode_image(record.image, self.bits)
        except InputError as error:
            for _ in _instances(record, None, problems):
                pass  # one run shows all there is to mend, in the masks too
            raise InputError([*error.problems, *problems]) from error
        shape = image.shape[:2]
        layers, layer_index = pack(_instances(record, shape, problems), shape)
        if problems:
            raise InputError(problems)
        return Sample(record.name, image, layers, layer_index, np.ones(len(layer_index), np.int64))

    def key(self, record: Record) -> str:
        """Return the SHA-256 of the record's file names and contents, and of `bits`.

        The contents, not times and sizes: a copy keeps its key, and a change within the clock's granularity or
        by a tool that restores times is noticed. It takes some 15 ms for an image of 600 masks (one CPU
        core, files in the system's memory).

        Raises:
            InputError: if a file cannot be read.
        """
        digest = hashlib.sha256(_bytes(f"{VERSION}\0{self.bits}\0{record.name}"))
        for path in filter(None, (record.image, *record.masks)):
            try:
                data = path.read_bytes()
            except OSError as error:
                raise InputError(f"{path} cannot be read ({error.strerror}): check that it is there.") from error
            digest.update(_bytes(f"\0{path.name}\0{len(data)}\0"))
            digest.update(data)
        return digest.hexdigest()

    def empty_masks(self, record: Record, sample: Sample) -> int:
        """Return how many mask files mark no pixel."""
        return len(record.masks) - len(sample)


def _bytes(text: str) -> bytes:
    """Encode names as the disk has them: not every file's name is UTF-8."""
    return text.encode(errors="surrogateescape")


def _list_or_problem(folder: Path) -> Record | None:
    """List one image's folder; one that may not be looked into is a problem of its own."""
    try:
        return _list_record(folder)
    except InputError as error:
        return Record(folder.name, problem=str(error))


def _list_record(folder: Path) -> Record | None:
    """List one image's folder; None if it is no such folder."""
    images, masks = list_files(folder / "images", IMAGE_SUFFIXES), list_files(folder / "masks", MASK_SUFFIXES)
    if not images:
        if not (folder / "images").is_dir() and not masks:
            return None
        accepted = ", ".join(IMAGE_SUFFIXES)
        return Record(folder.name, problem=f"{folder} has no image in its folder images (accepted: {accepted}).")
    record = Record(images[0].stem, images[0], tuple(masks))
    if len(images) > 1:
        names = ", ".join(path.name for path in images)
        return replace(record, problem=f"{folder / 'images'} holds {len(images)} images ({names}): keep one.")
    lossy = [] if masks else list_files(folder / "masks", IMAGE_SUFFIXES)
    if lossy:
        accepted = ", ".join(MASK_SUFFIXES)
        return replace(
            record, problem=f"{lossy[0]} is of a kind that blurs a mask's edge: save masks without loss ({accepted})."
        )
    return record


def _mark_namesakes(records: list[Record]) -> list[Record]:
    """Give every image whose name an earlier one has a problem that names both files."""
    first: dict[str, Record] = {}
    marked = []
    for record in records:
        namesake = first.setdefault(record.name, record)
        if namesake is not record and record.problem is None:
            where = f"{namesake.image} and {record.image}"
            record = replace(record, problem=f"{where} are two images of one name: rename or remove one of them.")
        marked.append(record)
    return marked


def _say_passed_over(root: Path, names: Sequence[str]) -> None:
    if names:
        shown = ", ".join(names[:NAMES_SHOWN]) + (f" and {len(names) - NAMES_SHOWN} more" * (len(names) > NAMES_SHOWN))
        folders = "1 folder in {} holds" if len(names) == 1 else f"{len(names)} folders in {{}} hold"
        say(f"{folders.format(root)} no images/ and {'was' if len(names) == 1 else 'were'} passed over: {shown}.")


def _advice(root: Path) -> str:
    """Say where a root without images probably went wrong."""
    if (root / "images").is_dir():
        return f"it looks like the folder of one image, so set data.root to {root.parent}, if that has {LAYOUT}"
    for folder in list_folders(root):
        if any(_list_record(inner) is not None for inner in list_folders(folder)):
            return f"set data.root={folder}, which has {LAYOUT}"
    return f"it should have {LAYOUT}"


def _instances(record: Record, shape: tuple[int, int] | None, problems: list[str]) -> Iterator[np.ndarray]:
    """Yield the masks that are not empty, adding a sentence to `problems` for what cannot be used.

    Masks of a wrong size share one sentence: they are hundreds where the image was resized after annotation.
    Without a shape (the image is broken) the sizes are not compared.
    """
    misfits: list[tuple[Path, tuple[int, ...]]] = []
    for path, mask in _decode_masks(record.masks):
        if isinstance(mask, InputError):
            problems.extend(mask.problems)
        elif shape is not None and mask.shape != shape:
            misfits.append((path, mask.shape))
        elif mask.any():
            yield mask
    if misfits and shape is not None:
        path, found = misfits[0]
        others = {1: "", 2: " (nor does 1 other mask of this image)"}.get(
            len(misfits), f" (nor do {len(misfits) - 1} other masks of this image)"
        )
        problems.append(
            f"{path} is {found[1]} x {found[0]} pixels and does not fit its image {record.image} of "
            f"{shape[1]} x {shape[0]}{others}: masks must have the size of their image."
        )


def _decode_masks(paths: Sequence[Path]) -> Iterator[tuple[Path, np.ndarray | InputError]]:
    """Yield each file with its mask or what is wrong with it, in order, decoded by threads.

    Pillow releases the interpreter while it decodes, so that two threads on two cores take half the time.
    """
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for start in range(0, len(paths), MASKS_AT_ONCE):
            batch = paths[start : start + MASKS_AT_ONCE]
            yield from zip(batch, pool.map(_mask_or_error, batch), strict=True)


def _mask_or_error(path: Path) -> np.ndarray | InputError:
    try:
        return decode_mask(path)
    except InputError as error:
        return error
