"""List the images in a folder and the folders in it, and name them.

Images are taken wherever they are, in folders of any depth, except in folders of masks, labels or overlays: those hold
pictures of annotations. So a data set of the training layout (NAME/images/NAME.png with NAME/masks/*.png) is
predicted without its masks. Files and folders that are left out are counted and named.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from nucleiseg.data.readers.listing import IMAGE_SUFFIXES, list_entries
from nucleiseg.errors import InputError, some
from nucleiseg.files import natural_key
from nucleiseg.progress import counted

ANNOTATION_WORDS = {"mask", "masks", "label", "labels", "annotation", "annotations", "groundtruth"}
"""A folder with one of these words in its name (`masks`, `train_masks`) holds annotations, not images."""


@dataclass
class FolderListing:
    """The images of a folder, and the entries that are left out.

    Attributes:
        images: image files, in natural order of their paths.
        folders: folders that are left out: of masks, labels or overlays.
        others: files that are left out, since they are neither images nor JSON files, which may hold image ids.
        problems: folder -> why it cannot be listed.
    """

    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    problems: dict[Path, str] = field(default_factory=dict)

    def passed_over(self, root: Path) -> str | None:
        """Return a sentence on the entries below `root` that are left out; None if there are none."""
        kinds = ((self.folders, "folder", "of masks, labels or overlays"), (self.others, "file", "of other types"))
        counts = [
            f"{counted(len(paths), noun)} {what} ({some(path.relative_to(root) for path in paths)})"
            for paths, noun, what in kinds
            if paths
        ]
        return f"In {root}, {' and '.join(counts)} passed over." if counts else None


def list_images(root: Path) -> FolderListing:
    """List the images in a folder and in the folders below it.

    Hidden files and folders (`.ipynb_checkpoints`) are ignored. Links to folders are followed, each folder once, so
    that loops of links end. Files are not opened: pipes and damaged files are reported when they are read.

    Args:
        root: the folder.
    """
    listing = FolderListing()
    waiting, seen = [root], set()
    while waiting:
        folder = waiting.pop()
        try:
            place = folder.resolve(strict=True)
            entries = list_entries(folder)
        except (OSError, RuntimeError, InputError) as error:  # RuntimeError: Python before 3.13 on a loop of links
            listing.problems[folder] = str(error) if isinstance(error, InputError) else f"{folder}: {error}."
            continue
        if place in seen:
            continue
        seen.add(place)
        images = entries.with_suffix(IMAGE_SUFFIXES)
        listing.images += images
        listing.others += [
            folder / name for name in entries.files if Path(name).suffix.lower() not in (*IMAGE_SUFFIXES, ".json")
        ]
        is_output = not {"answer.json", "counts.csv"}.isdisjoint(entries.files)
        for name in entries.folders:
            words = re.split(r"[^a-z]+", name.lower().replace("ground_truth", "groundtruth"))
            passed_over = not ANNOTATION_WORDS.isdisjoint(words) or (is_output and name == "overlays")
            (listing.folders if passed_over else waiting).append(folder / name)
    for paths in (listing.images, listing.folders, listing.others):
        paths.sort(key=lambda path: [natural_key(part) for part in path.parts])
    return listing


def image_names(files: Sequence[PurePath]) -> list[str]:
    """Name images by their paths, so that no two have one name.

    The name is the path without suffix, with `/` between folders: `site1/a.png` is `site1/a`. Of the training layout,
    NAME/images/FILE.png is NAME/FILE, and NAME where both are the same. Images that would share a name (`a.png`,
    `a.tif`) keep their suffixes and all their folders.

    Args:
        files: paths below the input folder, each once.

    Returns:
        One name each, in their order.
    """
    names = [_short_name(file) for file in files]
    while len(set(names)) < len(names):
        counts = Counter(names)
        names = [file.as_posix() if counts[name] > 1 else name for file, name in zip(files, names, strict=True)]
    return names


def _short_name(file: PurePath) -> str:
    folders = list(file.parts[:-1])
    if folders and folders[-1] == "images":
        folders.pop()
        if folders and folders[-1] == file.stem:
            folders.pop()
    return "/".join([*folders, file.stem])
