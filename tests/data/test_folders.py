"""The reader `folders`: what real folders hold is taken, and what cannot be used is refused by name."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleiseg.data.cache import SampleCache, load_all
from nucleiseg.data.layers import unpack
from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.base import Record
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.data.readers.listing import list_files
from nucleiseg.errors import InputError
from nucleiseg.files import natural_key, write_json

SHAPE = (8, 10)
IMAGE = np.random.default_rng(0).integers(0, 255, (*SHAPE, 3), dtype=np.uint8)


def square(row: int, column: int, size: int = 3) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + size, column : column + size] = True
    return mask


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array * np.uint8(255) if array.dtype == bool else array).save(path)
    return path


def add_image(root: Path, name: str, masks: list[np.ndarray], image: np.ndarray = IMAGE) -> Path:
    write(root / name / "images" / f"{name}.png", image)
    for number, mask in enumerate(masks, 1):
        write(root / name / "masks" / f"mask_{number}.png", mask)
    return root / name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images: `a` with two nuclei that touch, `b` with one."""
    folder = tmp_path / "data"
    add_image(folder, "a", [square(0, 0), square(0, 3)])
    add_image(folder, "b", [square(4, 4)])
    return folder


def records(root: Path) -> dict[str, Record]:
    return {record.name: record for record in FoldersReader(root=root).records()}


def test_reads_image_and_masks(root: Path) -> None:
    reader = READERS["folders"](root=str(root))
    first, second = reader.records()
    assert (first.name, second.name) == ("a", "b")
    sample = reader.read(first)
    assert sample.name == "a"
    np.testing.assert_array_equal(sample.image, IMAGE)
    np.testing.assert_array_equal(list(unpack(sample.layers, sample.layer_index)), [square(0, 0), square(0, 3)])
    assert sample.labels.tolist() == [1, 1]
    assert len(sample.layers) == 1
    assert sample.noticed == {}
    assert (reader.class_names, reader.synthetic) == (("nucleus",), False)


def test_a_reader_crosses_to_a_worker(root: Path) -> None:
    reader = FoldersReader(root=root)
    again = pickle.loads(pickle.dumps(reader))
    assert again == reader
    assert hash(again) == hash(reader)
    assert again.records() == reader.records()


def test_junk_is_passed_over(root: Path) -> None:
    clean = FoldersReader(root=root).records()
    for folder in (root, root / "a" / "images", root / "a" / "masks"):
        write(folder / ".ipynb_checkpoints" / "a-checkpoint.png", square(0, 0))
        for name in (".DS_Store", "Thumbs.db", "._a.png", "notes.txt", "table.csv", "desktop.ini"):
            (folder / name).write_bytes(b"junk")
    add_image(root / ".ipynb_checkpoints", "a", [square(0, 0)])
    add_image(root, "__MACOSX", [square(0, 0)])
    (root / "figures").mkdir()
    assert FoldersReader(root=root).records() == clean


def test_masks_come_in_natural_order(root: Path) -> None:
    folder = add_image(root, "c", [square(0, 0, size) for size in range(1, 6)])
    (folder / "masks" / "mask_2.png").rename(folder / "masks" / "mask_10.png")
    (folder / "masks" / "mask_3.png").rename(folder / "masks" / "MASK_07.PNG")
    names = [path.name for path in records(root)["c"].masks]
    assert names == ["MASK_07.PNG", "mask_1.png", "mask_4.png", "mask_5.png", "mask_10.png"]
    assert sorted(["m01", "m10", "m1", "m2", "10", "9", "m"], key=natural_key) == [
        "9", "10", "m", "m01", "m1", "m2", "m10",
    ]  # fmt: skip
    assert list_files(root / "absent", [".png"]) == []


def test_overlaps_components_and_other_kinds_of_masks_survive(root: Path) -> None:
    two_parts = square(0, 0) | square(5, 6)
    overlapping = square(1, 1)
    folder = add_image(root, "c", [two_parts, overlapping])
    write(folder / "masks" / "mask_3.png", np.dstack([square(5, 0) * np.uint8(7)] * 3))
    write(folder / "masks" / "mask_4.tif", square(5, 3) * np.uint16(300))
    sample = FoldersReader(root=root).read(records(root)["c"])
    expected = [two_parts, overlapping, square(5, 0), square(5, 3)]
    np.testing.assert_array_equal(list(unpack(sample.layers, sample.layer_index)), expected)
    assert sample.layer_index.tolist() == [0, 1, 0, 0]


def test_empty_masks_are_skipped_and_counted(root: Path) -> None:
    nothing = np.zeros(SHAPE, bool)
    add_image(root, "c", [nothing, square(0, 0), nothing])
    sample = FoldersReader(root=root).read(records(root)["c"])
    assert len(sample) == 1
    assert sample.noticed == {"empty": 2}


@pytest.mark.parametrize("empty_folder", [False, True])
def test_an_image_without_nuclei_is_a_sample(root: Path, empty_folder: bool) -> None:
    folder = add_image(root, "c", [])
    if empty_folder:
        (folder / "masks").mkdir()
    sample = FoldersReader(root=root).read(records(root)["c"])
    assert len(sample) == 0
    assert sample.layers.shape == (1, *SHAPE)


def test_more_masks_than_are_decoded_at_once(root: Path) -> None:
    pixels = [square(row, column, 1) for row in range(SHAPE[0]) for column in range(SHAPE[1])]
    add_image(root, "c", pixels)
    sample = FoldersReader(root=root).read(records(root)["c"])
    np.testing.assert_array_equal(sample.layers[0].ravel(), np.arange(1, len(pixels) + 1))


def problems(root: Path) -> list[str]:
    """Everything that listing and reading have to say."""
    reader, found = FoldersReader(root=root), []
    for record in reader.records():
        try:
            reader.read(record)
        except InputError as error:
            found += error.problems
    return found


def test_a_mask_of_another_size_is_refused_with_both_sizes(root: Path) -> None:
    add_image(root, "c", [square(0, 0), square(0, 0)[:5], square(0, 0)[:, :5]])
    (problem,) = problems(root)
    assert "mask_2.png is 10 x 5 pixels" in problem
    assert "c.png of 10 x 8" in problem
    assert "(nor does 1 other mask of this image)" in problem


def test_a_folder_misspelled_throughout_is_reported(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not capsys.readouterr().err
    shutil.copytree(root / "a", root / "c")
    for old, new in (("images", "image"), ("masks", "mask")):
        (root / "c" / old).rename(root / "c" / new)
    assert list(records(root)) == ["a", "b"]
    assert f"1 folder in {root} holds no images/ and was skipped: c." in capsys.readouterr().err
    shutil.copytree(root / "c", root / "d")
    records(root)
    assert f"2 folders in {root} hold no images/ and were skipped: c, d." in capsys.readouterr().err


def test_a_folder_that_may_not_be_listed_is_a_problem_beside_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: Path) -> object:
        if Path(path) == root / "a" / "masks":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (root / "b/masks/mask_1.png").write_bytes(b"")
    first, second = problems(root)
    assert f"{root / 'a' / 'masks'} cannot be listed (Permission denied)" in first
    assert "mask_1.png" in second


def test_names_that_are_not_utf8(root: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"kern_\xe9")
    try:
        (root / "b/images/b.png").rename(root / f"b/images/{name}.png")
        (root / "b/masks/mask_1.png").rename(root / f"b/masks/{name}.png")
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    reader = FoldersReader(root=root)
    assert [summary.name for summary in load_all(reader, SampleCache(tmp_path / "cache"))] == ["a", name]
    write_json(tmp_path / "names.json", [name])
    assert json.loads((tmp_path / "names.json").read_text(encoding="utf-8")) == [name]


def test_broken_files_are_all_named(root: Path) -> None:
    for path in (root / "a/images/a.png", root / "a/masks/mask_1.png", root / "b/masks/mask_1.png"):
        path.write_bytes(path.read_bytes()[:40])
    found = problems(root)
    assert len(found) == 3
    for name, problem in zip(["a.png", "mask_1.png", "mask_1.png"], found, strict=True):
        assert name in problem


def test_two_images_in_one_folder_are_refused(root: Path) -> None:
    shutil.copy(root / "a/images/a.png", root / "a/images/a.bmp")
    (problem,) = problems(root)
    assert "2 images (a.bmp, a.png)" in problem


def test_two_images_of_one_name_are_refused(root: Path) -> None:
    (root / "b/images/b.png").rename(root / "b/images/a.png")
    (problem,) = problems(root)
    assert str(Path("a/images/a.png")) in problem
    assert str(Path("b/images/a.png")) in problem
    assert "two images of one name" in problem


def test_masks_without_an_image_are_refused(root: Path) -> None:
    (root / "a/images/a.png").rename(root / "a/images/a.svs")
    (problem,) = problems(root)
    assert f"{root / 'a'} has no image" in problem


def test_masks_saved_with_loss_are_read_where_no_lossless_one_is_beside_them(root: Path) -> None:
    write(root / "c/images/c.png", IMAGE)
    write(root / "c/masks/1.jpg", square(0, 0))
    write(root / "c/masks/2.png", square(4, 4))
    write(root / "c/masks/2.jpg", square(4, 4))
    sample = FoldersReader(root=root).read(records(root)["c"])
    np.testing.assert_array_equal(list(unpack(sample.layers, sample.layer_index)), [square(0, 0), square(4, 4)])
    assert sample.noticed == {"thresholded": 1}


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as error:
        FoldersReader(root=root).records()
    return str(error.value)


def test_a_root_with_nothing_to_read_says_what_is_expected(root: Path) -> None:
    empty = root.parent / "empty"
    empty.mkdir()
    assert "NAME/images/NAME.png" in refusal(empty)
    assert "does not exist" in refusal(root / "absent")
    assert "is a file" in refusal(root / "a/images/a.png")


def test_a_root_one_level_off_gets_a_suggestion(root: Path) -> None:
    assert f"set root={root}" in refusal(root.parent)
    assert f"set root to {root}" in refusal(root / "a")


def test_a_root_without_any_mask_is_refused_with_its_other_problems(tmp_path: Path) -> None:
    add_image(tmp_path, "a", [])
    write(tmp_path / "b/images/b.png", IMAGE)
    write(tmp_path / "b/images/c.png", IMAGE)
    text = refusal(tmp_path)
    assert "None of the 2 images" in text
    assert "b.png, c.png" in text


def test_the_key_follows_contents_and_names_not_places_and_times(root: Path) -> None:
    reader, record = FoldersReader(root=root), records(root)["a"]
    key = reader.key(record)
    copied = root.parent / "copied"
    shutil.copytree(root, copied)
    (copied / "a/images/a.png").touch()
    assert FoldersReader(root=copied).key(records(copied)["a"]) == key
    mask = copied / "a/masks/mask_2.png"
    mask.rename(mask.with_name("mask_3.png"))
    assert FoldersReader(root=copied).key(records(copied)["a"]) != key
    assert reader.key(records(root)["b"]) != key


def test_the_cameras_bits_decide_pixels_and_key(root: Path) -> None:
    write(root / "a/images/a.png", np.full(SHAPE, 1000, np.uint16))
    by_itself, twelve = FoldersReader(root=root), FoldersReader(root=root, bits=12)
    record = records(root)["a"]
    assert by_itself.read(record).image.max() == 250
    assert twelve.read(record).image.max() == 62
    assert by_itself.key(record) != twelve.key(record)


@pytest.mark.parametrize("bits", [9, "12", 12.0, True, 0])
def test_other_bits_are_refused(bits: object) -> None:
    with pytest.raises(InputError, match=r"FoldersReader\.bits is .*; it accepts 8, 10, 12, 14 or 16, or null"):
        FoldersReader(root="anywhere", bits=bits)


def test_a_file_that_vanishes_after_listing_is_named(root: Path) -> None:
    record = records(root)["a"]
    record.masks[1].unlink()
    with pytest.raises(InputError, match=r"mask_2\.png"):
        FoldersReader(root=root).key(record)
