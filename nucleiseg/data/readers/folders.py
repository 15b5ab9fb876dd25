"""One folder an image, one file a nucleus: the layout of the VRDL homework, DSB2018 and matterport's examples."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from nucleiseg.data.readers.base import Reader, Record, digest_files
from nucleiseg.data.readers.images import to_rgb
from nucleiseg.data.readers.instances import read_instances, usable_masks
from nucleiseg.data.readers.listing import (
    IMAGE_SUFFIXES,
    LOSSY_SUFFIXES,
    list_entries,
    list_files,
    list_folders,
)
from nucleiseg.data.readers.pixels import decode_pixels
from nucleiseg.data.readers.recognition import Evidence, Tree, images_and
from nucleiseg.data.settings import FolderPath
from nucleiseg.errors import InputError, some
from nucleiseg.progress import counted, echo
from nucleiseg.settings import Bits, settings
from nucleiseg.structures import Sample

LAYOUT = "NAME/images/NAME.png and NAME/masks/*.png (one file a nucleus, or one label map) for every image"
VERSION = "folders 3"
"""Goes into every content key: raise it when the same files are to be read differently."""

NAMES_SHOWN = 5


@settings
class FoldersReader(Reader):
    """Reads ROOT/NAME/images/NAME.png with ROOT/NAME/masks/*.png.

    An image is named by its file. A mask file is one instance, also where it has several components; masks may
    touch and overlap. A file that is the only one of its image may be a label map (see `masks.read_mask`). An empty
    mask is skipped and counted; an image without masks has no nucleus, which is fine as long as others have some.
    Hidden files and folders such as `.ipynb_checkpoints` are skipped; whatever else is not read is named in a
    warning.

    Attributes:
        root: the folder that holds one folder an image.
        bits: the camera's bits a pixel in files that have 16; None: by each image's brightest value.
    """

    root: FolderPath
    bits: Bits | None = None

    @classmethod
    def recognize(cls, tree: Tree) -> Evidence | None:
        """Look for folders NAME/images with one image each."""
        images = Counter(path.parent.parent for path in tree.images() if path.parent.name == "images")
        if not images or tree.root in images or sorted(images.values())[len(images) // 2] > 1:
            return None  # twin folders of many images
        masks = [path for path in tree.images() if path.parent.name == "masks" and path.parent.parent in images]
        found = f"one folder per image: {images_and(len(images), len(masks), 'mask file')}"
        if all(folder.parent != tree.root for folder in images):
            return Evidence(found, f"a root directly above them: set root to {next(iter(images)).parent}")
        return Evidence(found, "" if masks else "mask files in NAME/masks")

    def records(self) -> list[Record]:
        """List the images in natural order of their folders.

        Raises:
            InputError: if the root does not exist, holds nothing of this layout, or no image there has a mask.
        """
        root = self.root
        if not root.is_dir():
            found = "is a file, not a folder" if root.exists() else "does not exist"
            raise InputError(f"The data folder {root} {found}: set root to a folder with {LAYOUT}.")
        entries = list_entries(root)
        unread = entries.with_suffix(IMAGE_SUFFIXES)
        listed = {name: _list_or_problem(root / name, unread) for name in entries.folders}
        records = _mark_namesakes([record for record in listed.values() if record is not None])
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
        if names := [name for name, record in listed.items() if record is None]:
            shown = ", ".join(names[:NAMES_SHOWN])
            shown += f" and {len(names) - NAMES_SHOWN} more" * (len(names) > NAMES_SHOWN)
            folders = "1 folder in {} holds" if len(names) == 1 else f"{len(names)} folders in {{}} hold"
            echo(f"{folders.format(root)} no images/ and {'was' if len(names) == 1 else 'were'} skipped: {shown}.")
        if unread:
            shown = some([path.relative_to(root).as_posix() for path in unread], NAMES_SHOWN)
            echo(f"Warning: {counted(len(unread), 'file or folder', 'files and folders')} in {root} not read: {shown}.")
        return records

    def read(self, record: Record) -> Sample:
        """Decode one image and pack its masks, or number the nuclei of its label map.

        Raises:
            InputError: with a sentence for each file that cannot be used.
        """
        if record.problem is not None or record.image is None:
            raise InputError(record.problem or f"{record.name} has no image file.")
        problems: list[str] = []
        noticed: Counter[str] = Counter()
        try:
            pixels = decode_pixels(record.image)
            assert pixels.values is not None
            image = to_rgb(pixels.values, record.image, self.bits)
        except InputError as error:
            for _ in usable_masks(record, None, problems, noticed):
                pass  # report the problems of the masks in the same run
            raise InputError([*error.problems, *problems]) from error
        if pixels.values.dtype.kind == "f":
            noticed["not_finite"] = int(not np.isfinite(pixels.values).all())
        layers, layer_index, ignore = read_instances(record, pixels, problems, noticed)
        if problems:
            raise InputError(problems)
        labels = np.ones(len(layer_index), np.int64)
        return Sample(record.name, image, layers, layer_index, labels, {**+noticed}, ignore)

    def key(self, record: Record) -> str:
        """Return the SHA-256 of the record's file names and contents, and of `bits`."""
        files = filter(None, (record.image, *record.masks))
        return digest_files(f"{VERSION}\0{self.bits}\0{record.name}", files)


def _list_or_problem(folder: Path, unread: list[Path]) -> Record | None:
    """List one image's folder; one that may not be looked into is a problem of its own."""
    try:
        return _list_record(folder, unread)
    except InputError as error:
        return Record(folder.name, problem=str(error))


def _list_record(folder: Path, unread: list[Path]) -> Record | None:
    """List one image's folder, adding what is not read to `unread`; None if it holds no image or mask."""
    inside, masks_inside = list_entries(folder / "images"), list_entries(folder / "masks")
    images, files = inside.with_suffix(IMAGE_SUFFIXES), masks_inside.with_suffix(IMAGE_SUFFIXES)
    # of a mask that is there with loss and without, the one without
    lossless = {path.stem for path in files if path.suffix.lower() not in LOSSY_SUFFIXES}
    masks = [path for path in files if path.suffix.lower() not in LOSSY_SUFFIXES or path.stem not in lossless]
    for name in ("images", "masks"):
        if os.path.lexists(folder / name) and not (folder / name).is_dir():
            return Record(folder.name, problem=f"{folder / name} is not a folder: expected is {LAYOUT}.")
    if not images:
        if not (folder / "images").is_dir() and not masks:
            return None
        accepted = ", ".join(IMAGE_SUFFIXES)
        return Record(folder.name, problem=f"{folder} has no image in its folder images (accepted: {accepted}).")
    record = Record(images[0].stem, images[0], tuple(masks))
    if len(images) > 1:
        names = some([path.name for path in images], NAMES_SHOWN)
        return replace(
            record,
            problem=f"{folder / 'images'} holds {len(images)} images ({names}): give each a folder of its own, with "
            f"{LAYOUT}.",
        )
    unread += list_entries(folder).others((folder / "images", folder / "masks"))
    unread += [*inside.others(images), *masks_inside.others(set(masks))]
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


def _advice(root: Path) -> str:
    """Return what is probably wrong with a root without images."""
    images = list_files(root / "images", IMAGE_SUFFIXES)
    if len(images) > 1:
        return (
            f"it has {len(images)} images in one folder (images) and masks in another, which the reader label_maps "
            f"reads (and auto recognizes). For this reader, give every image a folder of its own with {LAYOUT}"
        )
    if images:
        return f"it looks like the folder of one image, so set root to {root.parent}, if that has {LAYOUT}"
    for folder in list_folders(root):
        if any(_list_or_problem(inner, []) is not None for inner in list_folders(folder)):
            return f"set root={folder}, which has {LAYOUT}"
    return f"it should have {LAYOUT}"
