"""Split images into training and validation: by fraction, by names, k-fold or none, whole groups, balanced.

Images of one hospital look alike (scanner, stains, thickness), so a group never lies on both sides. The sides are
balanced not only in images but in nuclei, and in images that are far denser than the rest: of the 24 images of the
VRDL homework, the three of one site hold 31 % of the nuclei.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nucleiseg.data.balance import assign
from nucleiseg.data.settings import GROUPS, SplitSettings
from nucleiseg.errors import InputError, some
from nucleiseg.progress import counted, echo

TCGA_BARCODE = re.compile(r"TCGA-([A-Z0-9]{2})-[A-Z0-9]{4}", re.IGNORECASE)
"""Project, tissue source site, participant: the first three fields of a TCGA barcode (GDC Encyclopedia)."""

DENSE = 1.5
"""An image is dense when it has more than this many times the median number of nuclei."""


@dataclass(frozen=True)
class Split:
    """The parts of a data set.

    Attributes:
        train: names of the images to train on, sorted.
        val: names of the images to validate on, sorted; empty where all are trained on.
        description: how the images were divided and what the parts hold, in a sentence.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    description: str

    def to_dict(self) -> dict[str, Any]:
        """Return lists and text for `splits.json`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Split":
        """Return the split that `to_dict` wrote."""
        return cls(tuple(value["train"]), tuple(value["val"]), str(value["description"]))


def split(
    names: Sequence[str],
    counts: Sequence[int],
    settings: SplitSettings | None = None,
    contents: Sequence[str] | None = None,
) -> Split:
    """Divide images into a part to train on and a part to validate on.

    The result depends on the set of names and their counts, neither on their order nor on the run's seed: runs of
    different seeds validate on the same images.

    Args:
        names: the images' names, each once.
        counts: the number of nuclei in each.
        settings: what to validate on; the defaults hold out a fifth.
        contents: a digest of each image's pixels, equal for copies of one image, which the group `auto` keeps
            together; None: no copies.

    Raises:
        InputError: for a name that is not among the images, or too few groups for what is asked.
    """
    settings = settings or SplitSettings()
    if not names:
        raise InputError("There is no image to split: check the root of the data.")
    triples = sorted(zip(names, counts, contents or names, strict=True))
    ordered = [name for name, _, _ in triples]
    if len(set(ordered)) != len(ordered):
        raise ValueError(f"names repeat: {ordered}")
    sizes = np.array([count for _, count, _ in triples], dtype=np.int64)
    if settings.fold is None and isinstance(settings.val, tuple):
        return subset(_describe(ordered, sizes, *_by_name(ordered, settings.val)), settings)
    numbers, total = _groups(ordered, settings.group, [content for _, _, content in triples])
    if settings.fold is not None:
        chosen, method = _fold(numbers, total, sizes, settings)
    else:
        chosen, method = _hold_out(numbers, total, sizes, settings)
    grouping = "each image a group of its own"
    if total < len(names):
        kinds = {"auto": "TCGA source site and equal pixels", "tcga_site": "TCGA source site"}
        kind = kinds.get(settings.group, f"'{settings.group}'")
        grouping = f"{total} groups by {kind} kept whole"
    return subset(_describe(ordered, sizes, chosen, f"{method}, {grouping}"), settings)


def subset(parts: Split, settings: SplitSettings) -> Split:
    """Keep a share of the images to train on, for learning curves; validation stays as it is.

    The images are ordered by the SHA-256 of the seed and their names, and the first are kept, at least one. So the
    subsets of one seed are nested: a larger fraction adds images and removes none, and an image that is added to the
    data set moves no other.

    Args:
        parts: the split.
        settings: `fraction` and `fraction_seed`.
    """
    if settings.fraction == 1:
        return parts
    kept = max(1, round(settings.fraction * len(parts.train)))
    ordered = sorted(parts.train, key=lambda name: sha256(f"{settings.fraction_seed}\0{name}".encode()).digest())
    description = (
        f"{parts.description} Of these, {counted(kept, 'image')} are trained on (fraction {settings.fraction:g}, "
        f"seed {settings.fraction_seed})."
    )
    return replace(parts, train=tuple(sorted(ordered[:kept])), description=description)


def with_default_group(settings: SplitSettings, default: str | None) -> SplitSettings:
    """Return the settings with the group that `auto` means for a layout (`Reader.default_group`)."""
    return replace(settings, group=default) if settings.group == "auto" and default is not None else settings


def group_of(group: str) -> Callable[[str], str | None]:
    """Return the function from an image's name to its group (None: the name does not fit).

    Args:
        group: `auto`: the tissue source site (the second field) of a name that starts with a TCGA barcode, else the
            image alone (`split` adds copies of one image); `tcga_site`: the site, of names that all are barcodes;
            `none`: every image alone; else a regular expression with one group, searched in each name, as `(.+)_tile`
            (`SplitSettings` checks that it is one).

    Examples:
        >>> group_of("auto")("TCGA-HE-7128-01Z-00-DX1"), group_of("(.+)_tile")("patient3_tile07")
        ('HE', 'patient3')
    """
    if group == "none":
        return lambda name: name
    pattern = TCGA_BARCODE if group in ("auto", "tcga_site") else re.compile(group)

    def find(name: str) -> str | None:
        match = pattern.match(name) if pattern is TCGA_BARCODE else pattern.search(name)
        if match is None:
            return name if group == "auto" else None
        return match[1].upper() if pattern is TCGA_BARCODE else match[1]

    return find


def _groups(names: Sequence[str], group: str, contents: Sequence[str]) -> tuple[np.ndarray, int]:
    """Return the group number of each name, (N,) int64, and the number of groups.

    With `auto`, groups that hold copies of one image are one group.
    """
    found = [group_of(group)(name) for name in names]
    missing = [name for name, value in zip(names, found, strict=True) if value is None]
    if missing:
        raise InputError(f"group is '{group}', which finds none in {some(missing)}; it accepts {GROUPS}.")
    _, numbers = np.unique(np.array(found, dtype=str), return_inverse=True)
    if group == "auto" and len(set(contents)) < len(contents):
        _, images = np.unique(np.array(contents, dtype=str), return_inverse=True)
        # A graph whose nodes are groups and contents and whose edges are images: what is connected stays together.
        first = int(numbers.max()) + 1
        size = first + int(images.max()) + 1
        edges = coo_array((np.ones(len(names)), (numbers, first + images)), shape=(size, size))
        _, components = connected_components(edges, directed=False)
        _, numbers = np.unique(components[numbers], return_inverse=True)
    return numbers.reshape(-1), int(numbers.max()) + 1


def warn_of_copies(parts: Split, contents: Mapping[str, str]) -> None:
    """Warn of images that are in the data set several times, above all where both sides have one.

    Args:
        parts: the split.
        contents: name -> digest of the image's pixels.
    """
    names: dict[str, list[str]] = {}
    for name in sorted(contents):
        names.setdefault(contents[name], []).append(name)
    copies = [group for group in names.values() if len(group) > 1]
    val = set(parts.val)
    across = [group for group in copies if 0 < len(val.intersection(group)) < len(group)]
    shown = some([" = ".join(group) for group in across or copies])
    if across:
        are = "1 image of the validation is" if len(across) == 1 else f"{len(across)} images of the validation are"
        echo(
            f"Warning: {are} also trained on under another name ({shown}), so that validation looks better than it is: "
            "remove the copies, or keep them on one side with the group auto and a fraction to validate on."
        )
    elif copies:
        have = "1 image has" if len(copies) == 1 else f"{len(copies)} images have"
        echo(f"Warning: {have} copies under other names: {shown}.")


def _by_name(names: Sequence[str], wanted: Sequence[str]) -> tuple[np.ndarray, str]:
    """Return which images validate, (N,) bool, and the method in words."""
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise InputError(f"val names {some(unknown)}, but the data set has no such image. It has {some(names)}.")
    chosen = np.isin(names, list(wanted))
    if chosen.all():
        raise InputError("val names every image, so none is left to train on: name fewer.")
    return chosen, "validation images given by name" if wanted else "no validation (val=none)"


def _hold_out(numbers: np.ndarray, total: int, counts: np.ndarray, settings: SplitSettings) -> tuple[np.ndarray, str]:
    val = settings.val
    assert isinstance(val, float)
    if total < 2:
        raise InputError(
            f"val is {val:g}, which needs at least 2 groups of images, but {_made(len(numbers), total)} "
            f"(group={settings.group}): set val=none to train on all, or group=none to split a group."
        )
    parts = assign(_features(numbers, total, counts), np.array([1 - val, val]))
    return parts[numbers] == 1, f"hold-out of {val:g}"


def _fold(numbers: np.ndarray, total: int, counts: np.ndarray, settings: SplitSettings) -> tuple[np.ndarray, str]:
    folds = settings.folds
    if total < folds:
        raise InputError(
            f"folds is {folds}, which needs as many groups of images, but {_made(len(numbers), total)} "
            f"(group={settings.group}): ask for fewer folds, or set group=none to split groups."
        )
    parts = assign(_features(numbers, total, counts), np.full(folds, 1 / folds))
    return parts[numbers] == settings.fold, f"fold {settings.fold} of {folds}"


def _made(images: int, groups: int) -> str:
    return f"{counted(images, 'image')} make{'s' if images == 1 else ''} {groups}"


def _features(numbers: np.ndarray, total: int, counts: np.ndarray) -> np.ndarray:
    """Return each group's share of images, nuclei and dense images, (groups, 3) float64; columns sum to 1 (or 0)."""
    dense = counts > DENSE * np.median(counts)
    columns = [
        np.bincount(numbers, weights=weight, minlength=total) for weight in (np.ones_like(counts), counts, dense)
    ]
    features = np.stack(columns, axis=1)
    return features / np.maximum(features.sum(axis=0), 1)


def _describe(names: Sequence[str], counts: np.ndarray, chosen: np.ndarray, method: str) -> Split:
    images, nuclei = int(chosen.sum()), int(counts[chosen].sum())
    share = nuclei / max(int(counts.sum()), 1)
    description = (
        f"{len(names) - images} images ({counts.sum() - nuclei:,} nuclei) to train on, {images} ({nuclei:,} nuclei, "
        f"{share:.0%} of all) to validate on: {method}."
    )
    pick = [tuple(name for name, inside in zip(names, chosen, strict=True) if inside == side) for side in (False, True)]
    return Split(train=pick[0], val=pick[1], description=description)
