"""Which images are trained on and which validate: by fraction, by names, k-fold or none, whole groups, balanced.

Images of one hospital look alike (scanner, stains, thickness), so a group never lies on both sides. The sides are
balanced not only in images but in nuclei, and in images that are far denser than the rest: of the 24 images of the
VRDL homework, the three of one site hold 31 % of the nuclei.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nucleiseg.data.balance import assign
from nucleiseg.data.checks import is_fraction, is_whole
from nucleiseg.errors import InputError
from nucleiseg.progress import say

TCGA_BARCODE = re.compile(r"TCGA-([A-Z0-9]{2})-[A-Z0-9]{4}", re.IGNORECASE)
"""Project, tissue source site, participant: the first three fields of a TCGA barcode (GDC Encyclopedia)."""

DENSE = 1.5
"""An image is dense when it has more than this many times the median number of nuclei."""

ValChoice = float | str | Sequence[str] | None
"""A fraction of the images, names, or None / "none" to train on all."""


@dataclass(frozen=True)
class Split:
    """The parts of a data set.

    Attributes:
        train: names of the images to train on, sorted.
        val: names of the images to validate on, sorted; empty where all are trained on.
        description: how the parts came about and what they hold, in a sentence.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    description: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python for `splits.json`."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Split":
        """Return the split that `to_dict` wrote."""
        return cls(tuple(value["train"]), tuple(value["val"]), str(value["description"]))


def split(
    names: Sequence[str],
    counts: Sequence[int],
    val: ValChoice = 0.2,
    fold: int | None = None,
    folds: int = 5,
    group: str = "auto",
    contents: Sequence[str] | None = None,
) -> Split:
    """Divide images into a part to train on and a part to validate on.

    The result depends on the set of names and their counts, neither on their order nor on the run's seed: runs of
    different seeds validate on the same images.

    Args:
        names: the images' names, each once.
        counts: the number of nuclei in each.
        val: what to validate on: a fraction of the images in (0, 1); names; None or "none" for nothing.
        fold: validate on this fold (counted from 0) of `folds` instead; `val` is then a fraction and not used.
        folds: number of folds.
        group: which images stay together, see `group_of`; with `auto`, also images of equal content.
        contents: a digest of each image's pixels, equal for copies of one image; None: no copies.

    Returns:
        The two parts.

    Raises:
        InputError: for an unknown name, a number out of range, or too few groups for what is asked.
    """
    triples = sorted(zip(names, counts, contents or names, strict=True))
    ordered = [name for name, _, _ in triples]
    sizes = np.array([count for _, count, _ in triples], dtype=np.int64)
    pixels = [content for _, _, content in triples]
    if len(set(ordered)) != len(ordered):
        raise ValueError(f"names repeat: {ordered}")
    if not ordered:
        raise InputError("There is no image to split (data): check data.root.")
    wanted = _names_or_none(val)
    if wanted is None and not is_fraction(val):
        raise InputError(
            f"data.val={val} is not a fraction between 0 and 1. "
            "Accepted: a fraction as 0.2, a list of names, or none to train on all."
        )
    if fold is not None:
        if wanted is not None:
            raise InputError(f"data.fold={fold} and data.val={val} contradict each other: leave data.val a fraction.")
        chosen, how = _fold(ordered, sizes, fold, folds, group, pixels)
    elif wanted is None:
        chosen, how = _hold_out(ordered, sizes, val, group, pixels)
    else:
        chosen, how = _by_name(ordered, wanted)
    return _describe(ordered, sizes, chosen, how)


def group_of(group: str) -> Callable[[str], str | None]:
    """Return the function from an image's name to its group (None: the name does not fit).

    Args:
        group: `auto`: the tissue source site (the second field) of a name that starts with a TCGA barcode, else the
            image alone (`split` adds copies of one image); `tcga_site`: the site, and every name must be a barcode;
            `none`: every image alone; else a regular expression with one group, searched in each name, as `(.+)_tile`.

    Raises:
        InputError: when it is no text, or a regular expression that is wrong or has not exactly one group.
    """
    if not isinstance(group, str):
        raise InputError(f"data.group={group} is not a text. {_GROUPS_ACCEPTED}")
    if group == "none":
        return lambda name: name
    if group in ("auto", "tcga_site"):
        pattern = TCGA_BARCODE
    else:
        try:
            pattern = re.compile(group)
        except re.error as error:
            raise InputError(f"data.group={group} is not a regular expression ({error}). {_GROUPS_ACCEPTED}") from error
        if pattern.groups != 1:
            raise InputError(f"data.group={group} has {pattern.groups} groups in brackets, not one. {_GROUPS_ACCEPTED}")

    def find(name: str) -> str | None:
        match = pattern.match(name) if pattern is TCGA_BARCODE else pattern.search(name)
        if match is None:
            return name if group == "auto" else None
        return match[1].upper() if pattern is TCGA_BARCODE else match[1]

    return find


_GROUPS_ACCEPTED = "Accepted: auto, tcga_site, none, or a regular expression with one group, as '(.+)_tile'."


def _groups(names: Sequence[str], group: str, contents: Sequence[str]) -> tuple[np.ndarray, int]:
    """Return the group number of each name, (N,) int64, and how many groups there are.

    With `auto`, groups that hold copies of one image are one group.
    """
    found = [group_of(group)(name) for name in names]
    missing = [name for name, value in zip(names, found, strict=True) if value is None]
    if missing:
        raise InputError(f"data.group={group} finds no group in {_some(missing)}. {_GROUPS_ACCEPTED}")
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


def say_copies(parts: Split, contents: Mapping[str, str]) -> None:
    """Report images that are in the data set several times, with a warning where both sides have one.

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
    shown = _some([" = ".join(group) for group in across or copies])
    if across:
        are = "1 image of the validation is" if len(across) == 1 else f"{len(across)} images of the validation are"
        say(
            f"Warning: {are} also trained on under another name ({shown}), so that validation looks better than it is: "
            "remove the copies, or keep them on one side with data.group=auto and data.val as a fraction."
        )
    elif copies:
        have = "1 image has" if len(copies) == 1 else f"{len(copies)} images have"
        say(f"Warning: {have} copies under other names: {shown}.")


def _names_or_none(val: ValChoice) -> list[str] | None:
    """Return the names asked for ([] for none), or None where `val` is a fraction."""
    if val is None or (isinstance(val, str) and val.lower() in ("none", "null")):
        return []
    if isinstance(val, str):
        return [val]
    if isinstance(val, Sequence):
        if not val:
            raise InputError("data.val is an empty list: name images, or say data.val=none to train on all.")
        return [str(name) for name in val]
    return None


def _by_name(names: Sequence[str], wanted: Sequence[str]) -> tuple[np.ndarray, str]:
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise InputError(f"data.val names {_some(unknown)}, but the data set has no such image. It has {_some(names)}.")
    chosen = np.isin(names, list(wanted))
    if chosen.all():
        raise InputError("data.val names every image, so none is left to train on: name fewer.")
    return chosen, "validation images given by name" if wanted else "no validation (data.val=none)"


def _hold_out(
    names: Sequence[str],
    counts: np.ndarray,
    val: Any,  # noqa: ANN401
    group: str,
    contents: Sequence[str],
) -> tuple[np.ndarray, str]:
    numbers, total = _groups(names, group, contents)
    if total < 2:
        raise InputError(
            f"data.val={val} needs at least 2 groups of images, but {len(names)} image(s) make {total} "
            f"(data.group={group}): say data.val=none to train on all, or data.group=none to part a group."
        )
    parts = assign(_features(numbers, total, counts), np.array([1 - val, val]))
    return parts[numbers] == 1, f"hold-out of {val:g}, {_grouping(group, total, len(names))}"


def _fold(
    names: Sequence[str], counts: np.ndarray, fold: int, folds: int, group: str, contents: Sequence[str]
) -> tuple[np.ndarray, str]:
    if not is_whole(folds, 2):
        raise InputError(f"data.folds={folds} is not a number of folds: accepted are whole numbers from 2.")
    if not is_whole(fold, 0) or fold >= folds:
        raise InputError(
            f"data.fold={fold} is not one of the {folds} folds (data.folds): accepted are 0 to {folds - 1}."
        )
    numbers, total = _groups(names, group, contents)
    if total < folds:
        raise InputError(
            f"data.folds={folds} needs as many groups of images, but {len(names)} image(s) make {total} "
            f"(data.group={group}): ask for fewer folds, or say data.group=none to part groups."
        )
    parts = assign(_features(numbers, total, counts), np.full(folds, 1 / folds))
    return parts[numbers] == fold, f"fold {fold} of {folds}, {_grouping(group, total, len(names))}"


def _features(numbers: np.ndarray, total: int, counts: np.ndarray) -> np.ndarray:
    """Return each group's share of images, nuclei and dense images, (groups, 3) float64; columns sum to 1 (or 0)."""
    dense = counts > DENSE * np.median(counts)
    columns = [
        np.bincount(numbers, weights=weight, minlength=total) for weight in (np.ones_like(counts), counts, dense)
    ]
    features = np.stack(columns, axis=1)
    return features / np.maximum(features.sum(axis=0), 1)


def _grouping(group: str, groups: int, images: int) -> str:
    if groups == images:
        return "each image a group of its own"
    kinds = {"auto": "TCGA source site and equal pixels", "tcga_site": "TCGA source site"}
    kind = kinds.get(group, f"'{group}'")
    return f"{groups} groups by {kind} kept whole"


def _describe(names: Sequence[str], counts: np.ndarray, chosen: np.ndarray, how: str) -> Split:
    images, nuclei = int(chosen.sum()), int(counts[chosen].sum())
    share = nuclei / max(int(counts.sum()), 1)
    description = (
        f"{len(names) - images} images ({counts.sum() - nuclei:,} nuclei) to train on, {images} ({nuclei:,} nuclei, "
        f"{share:.0%} of all) to validate on: {how}."
    )
    pick = [tuple(name for name, inside in zip(names, chosen, strict=True) if inside == side) for side in (False, True)]
    return Split(train=pick[0], val=pick[1], description=description)


def _some(names: Sequence[str], limit: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
