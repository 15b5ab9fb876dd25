"""Truth from folders of masks and COCO files, and what is refused with a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_masks import encode, rectangle
from PIL import Image

from nucleiseg.data.cache import SampleCache
from nucleiseg.data.layers import unpack
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError
from nucleiseg.evaluation.coco_truth import read_coco
from nucleiseg.evaluation.truth import Truth, layer_masks, match_ids, read_folder
from nucleiseg.inference.images import ImageEntry

READER = DemoReader(images=3, size=48)


def entry(name: str, number: int) -> ImageEntry:
    return ImageEntry(file_name=name, id=number, height=48, width=48)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folders(READER, tmp_path / "truth")
    return tmp_path / "truth"


def test_masks_of_a_sample_are_its_instances() -> None:
    sample = READER.read(READER.records()[1])
    assert layer_masks(sample.layers, sample.layer_index) == [
        encode(mask) for mask in unpack(sample.layers, sample.layer_index)
    ]


def test_a_folder_is_read_by_the_names_of_the_ids(root: Path) -> None:
    ids = [entry("demo_002.png", 7), entry("test/demo_000.tif", 4)]
    truth = read_folder(root, ids, "ids.json", SampleCache(None))
    assert [(image.name, image.image_id) for image in truth.images] == [("demo_002", 7), ("demo_000", 4)]
    assert truth.categories == {1: "nucleus"}
    assert truth.notes == ("Images of the truth that ids.json does not list are not evaluated: 1.",)
    image, sample = truth.images[1], READER.read(READER.records()[0])
    assert (image.height, image.width) == (48, 48)
    assert image.masks == layer_masks(sample.layers, sample.layer_index)
    assert image.labels == [1] * len(sample)


def test_other_layouts_are_recognized_and_their_warnings_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.full((24, 32, 3), 90, np.uint8)
    labels = np.zeros((24, 32), np.uint8)
    labels[2:8, 3:9] = labels[12:20, 15:24] = 255
    for name in ("a", "b"):
        for folder, pixels in (("images", image), ("masks", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"{name}.png")
    truth = read_folder(tmp_path, [entry("a.png", 1)], "ids.json", SampleCache(None))
    assert [len(image.masks) for image in truth.images] == [1]
    err = capsys.readouterr().err
    assert "Found label maps: 2 images, 2 label maps" in err
    assert "Warning: 1 image has a single mask of several parts, read as one nucleus" in err


def test_classes_of_a_folder_are_chosen_and_keep_their_numbers(tmp_path: Path) -> None:
    for name, number in (("a", 2), ("b", 4)):
        folder = tmp_path / name
        folder.mkdir()
        Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(folder / "image.png")
        labels = np.zeros((24, 32), np.uint8)
        labels[2:8, 3:9] = 1
        Image.fromarray(labels).save(folder / f"class{number}.png")
    ids, cache = [entry("a.png", 1), entry("b.png", 2)], SampleCache(None)
    truth = read_folder(tmp_path, ids, "ids", cache)
    assert truth.categories == {2: "class2", 4: "class4"}
    assert [image.labels for image in truth.images] == [[2], [4]]
    assert [image.labels for image in read_folder(tmp_path, ids, "ids", cache, "one").images] == [[1], [1]]
    truth = read_folder(tmp_path, ids, "ids", cache, {"any": ("class2",), "ignore": ("class4",)})
    assert [(image.labels, len(image.crowd)) for image in truth.images] == [([2], 0), ([], 1)]


def test_classes_of_results_are_found_by_their_names() -> None:
    truth = Truth((), {2: "class2", 4: "class4"})
    known, numbers = truth.with_categories({1: "class4", 2: "class9"})
    assert (known.categories, numbers) == ({2: "class2", 4: "class4", 5: "class9"}, {1: 4, 2: 5})
    assert truth.with_categories({1: "nucleus"}) == (truth, {})
    assert truth.with_categories({}) == (truth, {})


def test_an_unreadable_image_is_left_out_and_reported(root: Path) -> None:
    damaged = next((root / "demo_001" / "masks").iterdir())
    damaged.write_bytes(b"damaged")
    truth = read_folder(root, [entry("demo_000.png", 1), entry("demo_001.png", 2)], "ids", SampleCache(None))
    assert [image.name for image in truth.images] == ["demo_000"]
    (unreadable,) = truth.unreadable
    assert (unreadable.name, unreadable.image_id) == ("demo_001", 2)
    assert str(damaged) in unreadable.problems[0]
    with pytest.raises(InputError, match=damaged.name):  # nothing is left
        read_folder(root, [entry("demo_001.png", 2)], "ids", SampleCache(None))


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([entry("a.png", 1), entry("b.png", 1)], "ids.json lists image id 1 2 times"),
        ([entry("a.png", 1), entry("x/a.tif", 2)], "ids.json lists image a 2 times"),
        ([entry("a.png", 1), entry("d.png", 2)], r"lists images that the truth lacks \(d; there are a, b, c.v1\)"),
    ],
)
def test_ids_that_do_not_fit(ids: list[ImageEntry], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        match_ids(["a", "b", "c.v1"], ids, "ids.json")


def test_a_name_with_a_dot_keeps_it() -> None:
    assert match_ids(["c.v1"], [entry("c.v1", 3)], "ids") == ({"c.v1": 3}, ())
    assert match_ids(["c.v1"], [entry("c.v1.png", 3)], "ids") == ({"c.v1": 3}, ())


def coco(**changes: object) -> dict[str, Any]:
    """Two images; a polygon and a run-length mask in the first, nothing in the second."""
    polygon = {"id": 1, "image_id": 5, "category_id": 3, "segmentation": [[3, 2, 9, 2, 9, 7, 3, 7]], "iscrowd": 0}
    counts = {"id": 2, "image_id": 5, "category_id": 4, "segmentation": rectangle(1, 20, 4, 25)}
    return {
        "images": [
            {"id": 5, "file_name": "slides/a.png", "height": 20, "width": 30},
            {"id": 6, "file_name": "b.png", "height": 20, "width": 30},
        ],
        "annotations": [polygon, counts],
        "categories": [{"id": 3, "name": "tumour"}, {"id": 4, "name": "stroma"}, {"id": 9, "name": "other"}],
        **changes,
    }


def read(tmp_path: Path, document: object) -> Truth:
    (tmp_path / "truth.json").write_text(json.dumps(document))
    return read_coco(tmp_path / "truth.json")


def test_a_coco_file(tmp_path: Path) -> None:
    truth = read(tmp_path, coco())
    first, second = truth.images
    assert (first.name, first.image_id, first.height, first.width) == ("a", 5, 20, 30)
    assert first.masks == [rectangle(2, 3, 7, 9), rectangle(1, 20, 4, 25)]
    assert first.labels == [3, 4]
    assert (second.name, second.masks) == ("b", [])
    assert truth.categories == {3: "tumour", 4: "stroma", 9: "other"}
    assert truth.notes == ()


def test_boxes_of_a_coco_file(tmp_path: Path) -> None:
    assert read(tmp_path, coco()).images[0].boxes is None
    first, second = coco()["annotations"]
    truth = read(tmp_path, coco(annotations=[{**first, "bbox": [3, 2, 7, 6]}, second]))
    assert truth.images[0].boxes == [(3, 2, 7, 6), (20, 1, 5, 3)]  # the second's is its mask's


def test_a_coco_file_without_categories_has_those_it_uses(tmp_path: Path) -> None:
    assert read(tmp_path, coco(categories=None)).categories == {3: "3", 4: "4"}


def test_annotations_without_a_pixel_are_left_out(tmp_path: Path) -> None:
    empty = {"id": 3, "image_id": 6, "category_id": 3, "segmentation": encode(np.zeros((20, 30), bool))}
    truth = read(tmp_path, coco(annotations=[*coco()["annotations"], empty]))
    assert truth.images[1].masks == []
    assert truth.notes == ("Annotations of the truth without a pixel are left out: 1 (number 3 in the file).",)


def test_other_ids_by_name(tmp_path: Path) -> None:
    truth = read(tmp_path, coco()).renumbered([entry("b.tif", 1), entry("a.png", 2)], "ids.json")
    assert [(image.name, image.image_id) for image in truth.images] == [("b", 1), ("a", 2)]
    images = [{"id": number, "file_name": "x/a.png", "height": 20, "width": 30} for number in (5, 6)]
    with pytest.raises(InputError, match=r"several images named a: ids\.json cannot tell them apart"):
        read(tmp_path, coco(images=images)).renumbered([entry("a.png", 1)], "ids.json")


@pytest.mark.parametrize("form", ["{}", "{}.png", "./{}.png", "\\{}.tif"])
def test_images_of_one_name_in_two_folders(tmp_path: Path, form: str) -> None:
    images = [{"id": n, "file_name": f"site{n}/a.png", "height": 20, "width": 30} for n in (5, 6)]
    truth = read(tmp_path, coco(images=[*images, {"id": 7, "file_name": "site5/b.png", "height": 20, "width": 30}]))
    assert [image.name for image in truth.images] == ["site5/a", "site6/a", "b"]
    ids = [entry(form.format(name), number) for name, number in (("site6/a", 1), ("site5/a", 2), ("any/b", 3))]
    renumbered = truth.renumbered(ids, "ids.json")
    assert [(image.name, image.image_id) for image in renumbered.images] == [("site6/a", 1), ("site5/a", 2), ("b", 3)]
    assert [len(image.masks) for image in renumbered.images] == [0, 2, 0]
    with pytest.raises(InputError, match=r"truth lacks \(a; there are site5/a, site6/a, b\)"):
        truth.renumbered([entry("a.png", 1)], "ids.json")
    with pytest.raises(InputError, match="lists image site5/a 2 times"):
        truth.renumbered([entry("site5/a.png", 1), entry("site5/a.tif", 2)], "ids.json")


def test_a_file_name_finds_the_only_image_whose_path_ends_in_it() -> None:
    names = ["all/x/a", "all/y/a"]
    assert match_ids(names, [entry("y/a.png", 1), entry("x/a.png", 2)], "ids")[0] == {"all/y/a": 1, "all/x/a": 2}
    assert match_ids(["NAME"], [entry("NAME/images/NAME.png", 1)], "ids")[0] == {"NAME": 1}
    with pytest.raises(InputError, match=r"truth lacks \(a;"):
        match_ids([*names, "all/z/x/a"], [entry("x/a.png", 1)], "ids")


def test_ids_and_sizes_that_are_whole_numbers_written_as_floats(tmp_path: Path) -> None:
    document = coco()
    for image in document["images"]:
        image.update(id=float(image["id"]), height=20.0, width=30.0)
    for annotation in document["annotations"]:
        annotation.update(image_id=5.0, category_id=float(annotation["category_id"]))
    truth = read(tmp_path, document)
    assert truth == read(tmp_path, coco())
    assert [type(image.image_id) for image in truth.images] == [int, int]
    assert [type(label) for label in truth.images[0].labels] == [int, int]


@pytest.mark.parametrize("polygons", [[], [[8, 8]], [[1, 2, 3, 4]], [[1, 2, 5, 2, 9, 2]]])
def test_degenerate_polygons_are_left_out_and_counted(tmp_path: Path, polygons: list[list[float]]) -> None:
    point = {"id": 9, "image_id": 6, "category_id": 3, "segmentation": polygons, "bbox": [8, 8, 0, 0]}
    truth = read(tmp_path, coco(annotations=[point, *coco()["annotations"]]))
    assert truth.images == read(tmp_path, coco()).images
    assert truth.notes == ("Annotations of the truth without a pixel are left out: 1 (number 1 in the file).",)


def test_a_file_of_boxes_alone_is_no_truth(tmp_path: Path) -> None:
    boxes = [{**annotation, "segmentation": [], "bbox": [3, 2, 6, 5]} for annotation in coco()["annotations"]]
    with pytest.raises(InputError, match="none of its 2 annotations has a mask with a pixel; boxes are not evaluated"):
        read(tmp_path, coco(annotations=boxes))


def test_classes_by_name(tmp_path: Path) -> None:
    first, second = coco()["annotations"]
    named = coco(annotations=[{**first, "category_id": "tumour"}, {**second, "category_id": "stroma"}])
    assert read(tmp_path, named) == read(tmp_path, coco())
    with pytest.raises(InputError, match=r"annotation 1 has the category_id 'nerve' instead of .*3 \(tumour\)"):
        read(tmp_path, coco(annotations=[{**first, "category_id": "nerve"}]))


@pytest.mark.parametrize(("categories", "label", "name"), [([{"id": 7, "name": "cell"}], 7, "cell"), (None, 1, "1")])
def test_annotations_without_a_class_where_there_is_one(
    tmp_path: Path, categories: object, label: int, name: str
) -> None:
    annotation = {"image_id": 5, "segmentation": rectangle(1, 20, 4, 25)}
    truth = read(tmp_path, coco(annotations=[annotation], categories=categories))
    assert truth.images[0].labels == [label]
    assert truth.notes == (f"Annotations of the truth without a category count as {name}: 1.",)
    with pytest.raises(InputError, match='annotation 1 needs "image_id", "category_id"'):
        read(tmp_path, coco(annotations=[annotation]))  # three classes


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ((10**9, 10**9), "has 1,000,000,000 x 1,000,000,000 pixels .* more than the 178,956,970"),
        ((10**5, 10**5), "has 100,000 x 100,000 pixels"),
        ((1, 10**100), "has the height 1 and the width 1000"),
        ((True, True), "has the height True and the width True"),
        (("64", 64), "has the height '64' and the width 64"),
        ((-1, 64), "has the height -1"),
        ((0, 64), "has the height 0"),
        ((64.5, 64), "has the height 64.5"),
        ((float("nan"), 64), "has the height nan"),
        ((None, 64), "has the height None"),
    ],
)
def test_sizes_that_no_image_has(tmp_path: Path, size: tuple[object, object], sentence: str) -> None:
    images = [{"id": "slide 7", "height": size[0], "width": size[1]}]
    with pytest.raises(InputError, match=sentence) as error:
        read(tmp_path, coco(images=images, annotations=[]))
    assert "truth.json: image 1 (id 'slide 7')" in str(error.value)


def test_more_classes_than_anybody_has(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 1,001 classes; up to 1,000 are evaluated"):
        read(tmp_path, coco(annotations=[], categories=[{"id": number} for number in range(1001)]))


ANNOTATION = {"id": 3, "image_id": 5, "category_id": 3, "segmentation": rectangle(1, 20, 4, 25)}


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ([], "is not a COCO file"),
        ({"images": [], "annotations": []}, "is not a COCO file"),
        (coco(images=[{"id": 5, "height": 20}]), r"image 1 \(id 5\) has the height 20 and the width None: it needs"),
        (coco(images=[{"id": True, "height": 20, "width": 30}]), 'image 1 needs an "id" .*its id is True'),
        (coco(images=[*coco()["images"], coco()["images"][0]]), "image id 5 stands for two images"),
        (coco(categories={"3": "tumour"}), '"categories" is a dict; expected is a list'),
        (
            coco(categories=[{"id": 3}, {"id": "4"}]),
            r"category 2 has the id '4': it needs an \"id\" that is a whole number",
        ),
        (coco(categories=[{"id": [1], "name": "nucleus"}]), r"category 1 has the id \[1\]"),
        (coco(categories=["nucleus"]), "category 1 has the id None"),
        (coco(annotations=[{"id": 1}]), 'annotation 1 needs "image_id"'),
        (
            coco(annotations=[{**ANNOTATION, "image_id": 8}]),
            "annotation 1 is of image id 8, which is not in its images",
        ),
        (coco(annotations=[{**ANNOTATION, "bbox": "all"}]), "annotation 1 has the bbox 'all' instead of"),
        (coco(annotations=[{**ANNOTATION, "iscrowd": "yes"}]), "annotation 1 has the iscrowd 'yes' instead of 0 or 1"),
        (
            coco(annotations=[{**ANNOTATION, "segmentation": rectangle(0, 0, 1, 1, (30, 20))}]),
            r"annotation 1 is 20 x 30 pixels .* \(image a, id 5\)",
        ),
        (
            coco(annotations=[{**ANNOTATION, "segmentation": {"size": [20, 30], "counts": "11"}}]),
            r"the run lengths of annotations 1 \(image a\) are damaged, or do not add up to 20 x 30 pixels",
        ),
    ],
)
def test_what_is_no_coco_truth(tmp_path: Path, document: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        read(tmp_path, document)
    assert str(tmp_path / "truth.json") in str(error.value)


def test_many_problems_are_cut(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, coco(annotations=[{}] * 1000))
    assert len(error.value.problems) == 11
    assert error.value.problems[-1] == "990 more problems of this file are not shown."


def test_files_that_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_coco(tmp_path / "missing.json")
    (tmp_path / "cut.json").write_text('{"images": [')
    with pytest.raises(InputError, match=r"cut\.json is not a JSON file"):
        read_coco(tmp_path / "cut.json")
