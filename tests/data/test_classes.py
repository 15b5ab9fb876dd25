"""Classes of a data set: chosen from those that annotations name, and given to the instances of each sample."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleiseg.data.classes import (
    CLASS_COLORS,
    IGNORED,
    ClassTable,
    choose_classes,
    class_color,
    describe_classes,
)
from nucleiseg.data.layers import pack, unpack
from nucleiseg.data.readers.outlines import read_color
from nucleiseg.data.settings import DataSettings
from nucleiseg.errors import InputError
from nucleiseg.structures import EVERY_CLASS, IgnoreRegions, NucleusClass, Sample

SIDE = 12
TUMOR, STROMA, DEAD = NucleusClass("tumor"), NucleusClass("stroma"), NucleusClass("dead")
FOUND = {TUMOR: 5, STROMA: 3, DEAD: 1}


def squares(count: int) -> list[np.ndarray]:
    """Squares of 3 x 3 pixels along the diagonal, each over a corner of the next."""
    masks = np.zeros((count, SIDE, SIDE), bool)
    for index in range(count):
        masks[index, 2 * index : 2 * index + 3, 2 * index : 2 * index + 3] = True
    return list(masks)


def sample(labels: list[int], classes: tuple[NucleusClass, ...], ignore: IgnoreRegions | None = None) -> Sample:
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    packed = pack(squares(len(labels)), (SIDE, SIDE))
    return Sample("a", image, *packed, np.array(labels, np.int64), ignore=ignore, classes=classes)


def masks(layers: np.ndarray, layer_index: np.ndarray) -> Iterator[bytes]:
    return (mask.tobytes() for mask in unpack(layers, layer_index))


def test_one_class_is_the_nucleus_whatever_its_name() -> None:
    for choice in (None, "one"):
        table = choose_classes(choice, {NucleusClass("Epithelial", 2, (1, 2, 3)): 7, TUMOR: 0})
        assert table == ClassTable()
        assert (table.names, table.category_ids) == (("nucleus",), None)
    assert choose_classes("one", FOUND) == ClassTable()


def test_classes_are_ordered_by_number_where_all_have_one_and_else_by_name() -> None:
    numbered = {NucleusClass("a", 9): 1, NucleusClass("b", 3): 1, NucleusClass("c", 4): 1}
    table = choose_classes(None, numbered)
    assert (table.names, table.category_ids) == (("b", "c", "a"), (3, 4, 9))
    table = choose_classes(None, {**numbered, NucleusClass("B10"): 1, NucleusClass("B9"): 1})
    assert (table.names, table.category_ids) == (("B9", "B10", "a", "b", "c"), None)


def test_numbers_that_files_disagree_on_are_dropped() -> None:
    table = choose_classes(None, {NucleusClass("a", 1): 1, NucleusClass("a", 2): 1, NucleusClass("b", 2): 1})
    assert (table.names, table.category_ids) == (("a", "b"), None)


def test_names_choose_the_order_and_keep_numbers_and_colors() -> None:
    found = {NucleusClass("a", 7, (1, 2, 3)): 4, NucleusClass("b", 5): 2}
    table = choose_classes(("b", "a", "c"), found)
    assert (table.names, table.labels) == (("b", "a", "c"), {"b": 1, "a": 2, "c": 3})
    assert (table.category_ids, table.colors) == (None, (CLASS_COLORS[0], (1, 2, 3), CLASS_COLORS[2]))
    assert choose_classes(("b", "a"), found).category_ids == (5, 7)
    assert class_color(1, table.colors) == CLASS_COLORS[0] != class_color(8) == CLASS_COLORS[1]


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (("tumour", "stroma"), "which lack tumor, dead.*Did you mean tumor|which lack dead, tumor.*Did you mean tumor"),
        ({"any": ("lymphocyte",), "background": ("tumor", "stroma", "dead")}, "of which no nucleus is one"),
    ],
)
def test_a_class_that_nobody_chose_is_refused(choice: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        choose_classes(choice, FOUND)  # type: ignore[arg-type]


def test_names_of_single_nuclei_are_not_classes() -> None:
    with pytest.raises(InputError, match=r"101 classes .* names of single nuclei"):
        choose_classes(None, {NucleusClass(f"cell_{number}"): 1 for number in range(101)})


def test_groups_merge_ignore_and_leave_out() -> None:
    regions = IgnoreRegions(*pack([squares(5)[4]]), np.array([1]))
    read = sample([1, 2, 3, 1], (DEAD, STROMA, TUMOR), regions)
    own = squares(4)
    table = choose_classes({"cell": ("tumor", "stroma"), "ignore": ("dead",)}, FOUND)
    changed = table.apply(read)
    assert (changed.classes, changed.labels.tolist()) == ((NucleusClass("cell"),), [1, 1])
    assert list(masks(changed.layers, changed.layer_index)) == [own[1].tobytes(), own[2].tobytes()]
    assert changed.ignore is not None
    assert changed.ignore.labels.tolist() == [EVERY_CLASS] * 3
    ignored = masks(changed.ignore.layers, changed.ignore.layer_index)
    assert list(ignored) == [squares(5)[4].tobytes(), own[0].tobytes(), own[3].tobytes()]
    changed = choose_classes({"cell": ("tumor", "stroma"), "background": ("dead",)}, FOUND).apply(read)
    assert (len(changed), changed.ignore) == (2, None)


@given(st.lists(st.integers(1, 3), max_size=5), st.permutations([1, 2, 3, IGNORED, 0]))
def test_a_table_is_a_lookup_of_each_nucleus(labels: list[int], targets: list[int]) -> None:
    """Independent of the layers: what each nucleus becomes, one by one."""
    classes = (TUMOR, STROMA, DEAD)
    table = ClassTable(classes, dict(zip(("tumor", "stroma", "dead"), targets, strict=False)))
    own = squares(len(labels))
    changed = table.apply(sample(labels, classes))
    became = [targets[label - 1] for label in labels]
    kept = [(mask.tobytes(), label) for mask, label in zip(own, became, strict=True) if label > 0]
    assert list(zip(masks(changed.layers, changed.layer_index), changed.labels.tolist(), strict=True)) == kept
    ignored = [mask.tobytes() for mask, label in zip(own, became, strict=True) if label == IGNORED]
    regions = [] if changed.ignore is None else list(masks(changed.ignore.layers, changed.ignore.layer_index))
    assert regions == ignored


def test_a_named_region_follows_its_class() -> None:
    regions = IgnoreRegions(*pack(squares(3)), np.array([2, EVERY_CLASS, 1]))
    read = replace(sample([1], (STROMA, TUMOR)), ignore=regions)
    changed = choose_classes({"tumor": ("tumor", "dead"), "stroma": ("stroma",)}, FOUND).apply(read)
    assert changed.ignore is not None
    assert (changed.labels.tolist(), changed.ignore.labels.tolist()) == ([2], [1, EVERY_CLASS, 2])
    one = ClassTable().apply(read)
    assert one.ignore is not None
    assert (one.labels.tolist(), one.ignore.labels.tolist()) == ([1], [1, EVERY_CLASS, 1])


def test_a_sentence_counts_the_nuclei_of_each_class() -> None:
    assert (
        describe_classes(choose_classes(None, FOUND), FOUND)
        == "Classes (nuclei): 1 dead (1), 2 stroma (3), 3 tumor (5)."
    )
    assert describe_classes(ClassTable(), FOUND).startswith("All nuclei are one class: the annotations name 3 (")
    assert describe_classes(ClassTable(), {TUMOR: 9}) == ""
    groups = {"cell": ("tumor",), "ignore": ("dead",), "background": ("stroma",)}
    told = describe_classes(choose_classes(groups, FOUND), FOUND)
    assert told == "Classes (nuclei): 1 cell (5). In ignore regions: 1. Background: 3."


@pytest.mark.parametrize(
    ("value", "color"),
    [
        ([200, 0, 7], (200, 0, 7)),
        (0xC80007, (200, 0, 7)),
        (-3670009, (200, 0, 7)),  # QuPath 0.3: the same with an alpha of 255, as a signed number of 32 bits
        ([200, 0], None),
        ([256, 0, 0], None),
        ("red", None),
        (None, None),
    ],
)
def test_colors_of_json_files(value: object, color: object) -> None:
    assert read_color(value) == color


@pytest.mark.parametrize("choice", [[], ["a", "a"], ["a", "ignore"], {"ignore": ["a"]}, {"a": ["b"], "c": ["b"]}, 3])
def test_a_choice_that_cannot_be_is_refused(choice: object) -> None:
    with pytest.raises(InputError, match=r"data.classes is .* it accepts null"):
        DataSettings.from_dict({"classes": choice}, "data")


def test_yaml_may_read_names_as_numbers() -> None:
    assert DataSettings.from_dict({"classes": [1, 2]}, "data").classes == ("1", "2")
    assert DataSettings.from_dict({"classes": {1: 2, "b": ["c"]}}, "data").classes == {"1": ("2",), "b": ("c",)}
