"""Choose the classes of a data set from those that its annotations name, and give samples their labels.

    table = choose_classes(None, {NucleusClass("stroma"): 40, NucleusClass("tumor"): 120})
    table.names                       # ("stroma", "tumor"): labels 1 and 2
    sample = table.apply(sample)      # labels of this image -> labels of the data set

A sample as its reader makes it numbers the classes of its own image. Which classes the data set has is known when all
images were read, and may be chosen: so the cache keeps the samples as they were read, and a table relabels them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator

from nucleiseg.errors import InputError, some
from nucleiseg.files import natural_key
from nucleiseg.settings import Accepts
from nucleiseg.structures import EVERY_CLASS, Color, IgnoreRegions, NucleusClass, Sample

ONE = "one"
"""The choice that reads all nuclei as one class."""

IGNORE, BACKGROUND = "ignore", "background"
"""Names of a mapping whose nuclei become ignore regions, or are left out as if they were tissue."""

IGNORED, LEFT_OUT = -1, 0
"""Labels of a `ClassTable` for nuclei of these."""

MOST_CLASSES = 100
"""Most classes that are read from the data: more are names of single nuclei (`cell_001`), not of classes."""

CLASS_COLORS: tuple[Color, ...] = (
    (230, 159, 0), (0, 114, 178), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233),
)  # fmt: skip
"""RGB of the classes 1, 2, ... in turn: the set of Okabe and Ito (2008), which color-blind people can distinguish."""


def _as_choice(value: object) -> object:
    """Turn lists into tuples, a single name into a tuple of one, and numbers that YAML read into text."""
    if isinstance(value, Mapping):
        return {_as_text(new): _as_choice([old] if type(old) in (str, int) else old) for new, old in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_as_text(name) for name in value)
    return (value,) if isinstance(value, str) and value != ONE else value


def _as_text(name: object) -> object:
    return str(name) if type(name) is int else name


def _is_sound(value: object) -> object:
    """Refuse empty choices, names that repeat, and the names of `IGNORE` and `BACKGROUND` for a class."""
    if isinstance(value, tuple):
        names = value
        unsound = set(names) & {IGNORE, BACKGROUND}
    elif isinstance(value, Mapping):
        names = tuple(name for old in value.values() for name in old)
        unsound = set() if value.keys() - {IGNORE, BACKGROUND} else {IGNORE}
    else:
        return value
    if not names or unsound or len(set(names)) < len(names):
        raise ValueError(value)
    return value


ClassChoice = Annotated[
    Literal["one"] | tuple[str, ...] | dict[str, tuple[str, ...]] | None,
    BeforeValidator(_as_choice),
    AfterValidator(_is_sound),
    Accepts(
        "null (the classes of the annotations), one (all nuclei are one class), a list of distinct class names in the "
        "order of the labels, or groups of them ({tumor: [Neoplastic, Dead], ignore: [Connective]})"
    ),
]
"""Which classes a data set has; see `choose_classes`."""


@dataclass(frozen=True)
class ClassTable:
    """The classes of a data set, and the label of every class that its annotations name.

    Attributes:
        classes: of the labels 1, 2, ...
        labels: name in the annotations -> label, `IGNORED` or `LEFT_OUT`; None: all names have the label 1.
    """

    classes: tuple[NucleusClass, ...] = (NucleusClass(),)
    labels: Mapping[str, int] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class, in the order of the labels 1, 2, ..."""
        return tuple(item.name for item in self.classes)

    @property
    def category_ids(self) -> tuple[int, ...] | None:
        """The number by which the annotations call each class, where all have one of their own; else None."""
        numbers = [item.number for item in self.classes if item.number is not None]
        return tuple(numbers) if len(set(numbers)) == len(self.classes) else None

    @property
    def colors(self) -> tuple[Color, ...]:
        """The color of each class: that of the annotations, else one of `CLASS_COLORS`."""
        return tuple(item.color or class_color(label) for label, item in enumerate(self.classes, 1))

    def relabel(self, labels: np.ndarray, classes: Sequence[NucleusClass]) -> np.ndarray:
        """Return the label of each instance of an image in the data set.

        Args:
            labels: (N,) int64 from 1, in the image.
            classes: of the labels 1, 2, ... of the image.

        Returns:
            (N,) int64: 1 .. number of classes, `IGNORED` or `LEFT_OUT`.
        """
        if self.labels is None:
            return np.ones(len(labels), np.int64)
        return np.array([self.labels.get(item.name, IGNORED) for item in classes], np.int64)[labels - 1]

    def apply(self, sample: Sample) -> Sample:
        """Return a sample with the labels and classes of the data set.

        Nuclei of an ignored class become ignore regions of any class; those that are left out have no pixel.
        """
        labels = self.relabel(sample.labels, sample.classes)
        ignore = self._regions(sample, labels == IGNORED)
        kept = labels > 0
        if kept.all():
            return replace(sample, labels=labels, ignore=ignore, classes=self.classes)
        layers, layer_index = _select(sample.layers, sample.layer_index, kept)
        return replace(
            sample, layers=layers, layer_index=layer_index, labels=labels[kept], ignore=ignore, classes=self.classes
        )

    def _regions(self, sample: Sample, ignored: np.ndarray) -> IgnoreRegions | None:
        """Return the ignore regions of an image: its own with the data set's labels, and the ignored nuclei."""
        regions = sample.ignore
        if regions is not None:
            labels = np.full(len(regions), EVERY_CLASS, np.int64)
            named = regions.labels != EVERY_CLASS
            labels[named] = self.relabel(regions.labels[named], sample.classes)
            kept = ~named | (labels != LEFT_OUT)
            labels[labels == IGNORED] = EVERY_CLASS
            layers, layer_index = regions.layers, regions.layer_index
            if not kept.all():
                layers, layer_index = _select(layers, layer_index, kept)
            regions = IgnoreRegions(layers, layer_index, labels[kept]) if kept.any() else None
        if not ignored.any():
            return regions
        layers, layer_index = _select(sample.layers, sample.layer_index, ignored)
        of_nuclei = np.full(len(layer_index), EVERY_CLASS, np.int64)
        if regions is None:
            return IgnoreRegions(layers, layer_index, of_nuclei)
        behind = np.where(layers > 0, layers.astype(np.int32) + len(regions), 0)
        return IgnoreRegions(
            np.concatenate([regions.layers.astype(np.int32), behind]),
            np.concatenate([regions.layer_index, layer_index + len(regions.layers)]),
            np.concatenate([regions.labels, of_nuclei]),
        )


def _select(layers: np.ndarray, layer_index: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the planes and plane indices of the chosen instances, (N,) bool, numbered from 1 again."""
    values = np.zeros(len(chosen) + 1, layers.dtype)
    values[1:][chosen] = np.arange(1, np.count_nonzero(chosen) + 1)
    return values[layers], layer_index[chosen]


def class_color(label: int, colors: Sequence[Color] | None = None) -> Color:
    """Return the color of a label (1, 2, ...): one of the given ones, else of `CLASS_COLORS` in turn."""
    if colors is not None and label <= len(colors):
        return colors[label - 1]
    return CLASS_COLORS[(label - 1) % len(CLASS_COLORS)]


def choose_classes(choice: ClassChoice, found: Mapping[NucleusClass, int]) -> ClassTable:
    """Choose the classes of a data set.

    Args:
        choice: None: every class that a nucleus has, ordered by the numbers of the annotations where all have one,
            else by name, digits as numbers (class2 before class10); data of fewer than two classes have the class
            `nucleus`. `one`: the class `nucleus` for all. Names: these in this order. Groups: name of a class -> names
            in the annotations; `ignore` makes ignore regions of nuclei, `background` leaves them out.
        found: class in the annotations -> its number of nuclei, of all images.

    Raises:
        InputError: if nuclei have a class that the names or groups lack, or none has one that they hold; or for more
            than `MOST_CLASSES` classes without a choice.

    Examples:
        >>> found = {NucleusClass("class10"): 3, NucleusClass("class2"): 5}
        >>> choose_classes(None, found).names, choose_classes("one", found).names
        (('class2', 'class10'), ('nucleus',))
        >>> choose_classes({"any": ("class2", "class10")}, found).labels
        {'class2': 1, 'class10': 1}
    """
    known = _merged(found)
    if choice == ONE or (choice is None and len(known) < 2):
        return ClassTable()
    if choice is None:
        if len(known) > MOST_CLASSES:
            raise InputError(
                f"The annotations name {len(known):,} classes ({some(known)}), more than {MOST_CLASSES}: they look "
                "like names of single nuclei. Set classes to one, or to a list of names or groups."
            )
        is_numbered = all(item.number is not None for item in known.values())
        classes = tuple(sorted(known.values(), key=lambda item: (is_numbered and item.number, natural_key(item.name))))
        return ClassTable(classes, {item.name: label for label, item in enumerate(classes, 1)})
    groups = choice if isinstance(choice, Mapping) else {name: (name,) for name in choice}
    _require_complete(groups, known)
    names = [name for name in groups if name not in (IGNORE, BACKGROUND)]
    chosen = [_grouped(name, [known[old] for old in groups[name] if old in known]) for name in names]
    numbers = {IGNORE: IGNORED, BACKGROUND: LEFT_OUT} | {name: label for label, name in enumerate(names, 1)}
    return ClassTable(tuple(chosen), {old: numbers[name] for name, olds in groups.items() for old in olds})


def describe_classes(table: ClassTable, found: Mapping[NucleusClass, int]) -> str:
    """Return a sentence on the classes and their nuclei; empty where the annotations have no more than one."""
    known = Counter[str]()
    for item, count in found.items():
        known[item.name] += count
    if len(+known) < 2:
        return ""
    if table.labels is None:
        return f"All nuclei are one class: the annotations name {len(+known)} ({some(+known)})."
    counts = Counter[int]()
    for name, count in known.items():
        counts[table.labels.get(name, IGNORED)] += count
    parts = [f"{label} {name} ({counts[label]:,})" for label, name in enumerate(table.names, 1)]
    others = {IGNORED: "In ignore regions", LEFT_OUT: "Background"}
    rest = [f" {what}: {counts[key]:,}." for key, what in others.items() if counts[key]]
    return f"Classes (nuclei): {', '.join(parts)}.{''.join(rest)}"


def _merged(found: Mapping[NucleusClass, int]) -> dict[str, NucleusClass]:
    """Return the classes with a nucleus by name: files may give one name several numbers or colors."""
    by_name: dict[str, list[NucleusClass]] = {}
    for item, count in found.items():
        if count:
            by_name.setdefault(item.name, []).append(item)
    return {name: _grouped(name, by_name[name]) for name in sorted(by_name, key=natural_key)}


def _grouped(name: str, items: Sequence[NucleusClass]) -> NucleusClass:
    """Return a class of several: with their number if they have one in common, and the first color."""
    numbers = {item.number for item in items}
    colors = sorted(item.color for item in items if item.color is not None)
    return NucleusClass(name, numbers.pop() if len(numbers) == 1 else None, colors[0] if colors else None)


def _require_complete(groups: Mapping[str, Sequence[str]], known: Mapping[str, NucleusClass]) -> None:
    """Refuse groups that lack a class of the annotations, so that no nucleus is lost or trained on unnoticed."""
    listed = [name for names in groups.values() for name in names]
    wanted = [name for group, names in groups.items() if group not in (IGNORE, BACKGROUND) for name in names]
    absent = [name for name in listed if name not in known]
    lacking = [name for name in known if name not in listed]
    if not lacking and any(name in known for name in wanted):
        return
    close = [match for name in absent for match in get_close_matches(name, lacking, 1)]
    meant = f" Did you mean {' and '.join(close)}?" if close else ""
    what = f"which lack {some(lacking)}" if lacking else "of which no nucleus is one"
    raise InputError(
        f"The annotations name the classes {', '.join(known)}; wanted are {', '.join(wanted)}, {what}.{meant} "
        f"Add them, or use groups, in which {IGNORE}: [NAME] makes ignore regions of nuclei and {BACKGROUND}: [NAME] "
        "leaves them out."
    )
