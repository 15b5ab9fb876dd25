"""Pair images with their files of annotations by name."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nucleiseg.data.readers.base import Record
from nucleiseg.errors import some
from nucleiseg.progress import counted, echo


def stem_of(path: Path) -> str:
    """Return the name of a file without its suffix; of a compressed one without both (`NAME.geojson.gz`)."""
    return Path(path.stem).stem if path.suffix.lower() == ".gz" else path.stem


def unique_names(paths: Sequence[Path], root: Path) -> list[str]:
    """Return the name of each image: its stem, with the folders before it where two images have one stem."""
    repeated = {stem for stem, count in Counter(map(stem_of, paths)).items() if count > 1}
    names = [
        "_".join((*path.relative_to(root).parent.parts, stem_of(path))) if stem_of(path) in repeated else stem_of(path)
        for path in paths
    ]
    again = {name for name, count in Counter(names).items() if count > 1}  # one stem with two suffixes
    return [path.name.replace(".", "_") if name in again else name for path, name in zip(paths, names, strict=True)]


def pair_by_stem(annotations: Sequence[Path], images: Sequence[Path], root: Path, what: str) -> list[Record]:
    """Make a record of each annotation file with the image of its stem, in its own folder or anywhere below the root.

    `NAME.xml`, `NAME.tif.xml` and `NAME_nuclei.xml` belong to `NAME.tif`, the longest fitting name. Images without
    annotations are skipped and named; annotations without an image are a problem of their record.

    Args:
        annotations: the files of annotations.
        images: the files of images; of several of one stem in a folder the first is taken.
        root: the folder of the data set.
        what: what an annotation file is called (`XML file`).
    """
    by_name: dict[str, list[Path]] = {}
    for path in images:
        for name in {path.stem, path.name}:
            by_name.setdefault(name, []).append(path)
    records, used = [], set()
    for path, name in zip(annotations, unique_names(annotations, root), strict=True):
        stem = stem_of(path)
        candidates = by_name.get(stem, [])
        cut = [place for place, letter in enumerate(stem) if letter in "_-. "]
        while not candidates and cut:
            candidates = by_name.get(stem[: cut.pop()], [])
        image = next((other for other in candidates if other.parent == path.parent), next(iter(candidates), None))
        if image is None:
            records.append(Record(name, problem=f"{path} has no image named {stem} in {root}: add it."))
            continue
        used.add((image.parent, image.stem))
        records.append(Record(name, image, (path,)))
    without = [path for path in images if (path.parent, path.stem) not in used]
    if without and records:
        names = some([path.name for path in without])
        echo(f"Skipped {counted(len(without), 'image')} without {what}: {names}.")
    return records
