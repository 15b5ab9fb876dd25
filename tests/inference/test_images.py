"""What prediction finds in files, folders and files of image ids, and the sentences about the rest."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucleiseg.errors import InputError
from nucleiseg.inference.image_ids import read_ids
from nucleiseg.inference.images import InputImage, find_images


def put(path: Path, height: int = 6, width: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 77, dtype=np.uint8)).save(path)
    return path


def put_ids(path: Path, *entries: object) -> Path:
    path.write_text(json.dumps(entries))
    return path


def entry(name: str, number: int, height: int = 6, width: int = 8) -> dict[str, object]:
    return {"file_name": name, "height": height, "id": number, "width": width}


def ids_of(images: list[InputImage]) -> dict[str, int]:
    return {image.name: image.image_id for image in images}


def test_folder_in_natural_order_without_junk(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.PNG", "a.tif", ".hidden.png", ".ipynb_checkpoints/b2-checkpoint.png"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    images = find_images(tmp_path)
    assert [image.name for image in images] == ["a", "b2", "b10"]
    assert [image.image_id for image in images] == [1, 2, 3]


def test_one_file(tmp_path: Path) -> None:
    assert find_images(put(tmp_path / "x.png")) == [InputImage("x", tmp_path / "x.png", 1)]


def test_folder_of_image_folders(tmp_path: Path) -> None:
    put(tmp_path / "N2" / "images" / "N2.png")
    put(tmp_path / "N1" / "images" / "N1.png")
    put(tmp_path / "N1" / "masks" / "mask_1.png")
    assert ids_of(find_images(tmp_path)) == {"N1": 1, "N2": 2}


@pytest.mark.parametrize("folder", [".", "test"])
def test_ids_file_with_images_beside_it_or_in_test(tmp_path: Path, folder: str) -> None:
    put(tmp_path / folder / "b.png")
    put(tmp_path / folder / "a.png")
    listed = find_images(put_ids(tmp_path / "test_img_ids.json", entry("b.png", 7), entry("a.png", 3)))
    assert [(image.name, image.image_id) for image in listed] == [("b", 7), ("a", 3)]
    assert listed[0].read().shape == (6, 8, 3)
    assert listed[0].entry(6, 8) == entry("b.png", 7)


@pytest.mark.parametrize("place", ["test", "."])
def test_ids_that_lie_beside_a_folder_are_not_passed_over_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    put(tmp_path / "test" / "a.png")
    put(tmp_path / "test" / "b.png")
    (tmp_path / "results.json").write_text('[{"image_id": 1}]')
    listing = put_ids(tmp_path / place / "test_img_ids.json", entry("b.png", 1), entry("a.png", 2))
    assert ids_of(find_images(tmp_path / "test")) == {"a": 1, "b": 2}
    said = capsys.readouterr().err
    assert f"Warning: {listing} gives these images other ids: ids={listing} uses them" in said
    assert "Numbered 1..2 in natural order" in said
    assert "results.json" not in said
    find_images(tmp_path / "test" / "b.png")
    assert "Warning" not in capsys.readouterr().err, "the number of the only image is its id"
    find_images(tmp_path / "test", listing)
    assert capsys.readouterr().err == ""


def test_a_folder_numbered_as_its_ids_file_has_it_is_no_reason_to_warn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path / "in")
    put_ids(tmp_path / "ids.json", entry("a.png", 1), entry("b.png", 5))
    find_images(".")
    assert "Warning" not in capsys.readouterr().err
    put_ids(tmp_path / "ids.json", entry("a.png", 5))
    find_images(".")
    assert f"ids={Path('..') / 'ids.json'}" in capsys.readouterr().err


def test_coco_file_of_images(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": [{"file_name": "a.png", "id": 5}], "annotations": []}))
    assert ids_of(find_images(path)) == {"a": 5}
    assert find_images(path)[0].read().shape == (6, 8, 3)


def test_ids_for_a_folder_and_for_one_file(tmp_path: Path) -> None:
    put(tmp_path / "in" / "a.png")
    put(tmp_path / "in" / "b.png")
    ids = put_ids(tmp_path / "ids.json", entry("gone.png", 1), entry("b.png", 9))
    assert ids_of(find_images(tmp_path / "in", ids)) == {"gone": 1, "b": 9}
    assert ids_of(find_images(tmp_path / "in" / "b.png", ids)) == {"b": 9}
    with pytest.raises(InputError, match=r"No image of .*a\.png is listed .* gone\.png, b\.png"):
        find_images(tmp_path / "in" / "a.png", ids)


def test_missing_image_is_reported_when_it_is_read(tmp_path: Path) -> None:
    listed = find_images(put_ids(tmp_path / "ids.json", entry("gone.png", 1)))
    with pytest.raises(InputError, match=r"gone\.png is listed .* missing: put it at ") as missing:
        listed[0].read()
    assert str(missing.value).endswith(f"{tmp_path / 'gone.png'} or {tmp_path / 'test' / 'gone.png'}.")


def test_another_size_than_announced_is_reported(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    listed = find_images(put_ids(tmp_path / "ids.json", entry("a.png", 1, height=8, width=6)))
    with pytest.raises(InputError, match="8 pixels wide and 6 high, but 6 and 8 in the file of image ids"):
        listed[0].read()


def test_damaged_image_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png"):
        find_images(tmp_path)[0].read()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "is not a JSON file"),
        ("[]", "expected a list"),
        ('{"info": 1}', "expected a list"),
        ("[3]", "entry 1 is 3"),
        ('[{"id": 1}]', 'entry 1 has no "file_name"'),
        (
            '[{"file_name": "a.png", "id": " "}]',
            r"entry 1 \(a\.png\): \"id\" is ' '; it accepts a whole number or a text",
        ),
        ('[{"file_name": "a.png", "id": true}]', r'"id" is True; it accepts a whole number or a text'),
        ('[{"file_name": "a.png", "id": 1, "height": 0}]', '"height" is 0; it accepts a whole number of at least 1'),
        ('[{"file_name": "../.", "id": 1}, {"id": 2}]', 'entry 1 has no "file_name".*\n.*entry 2 has no "file_name"'),
        ('[{"file_name": "a.png", "id": 1, "width": 2.5}]', '"width" is 2.5; it accepts a whole number'),
        ('[{"file_name": "a.png"}]', '"id" is None; it accepts a whole number or a text'),
    ],
)
def test_malformed_ids(tmp_path: Path, document: str, sentence: str) -> None:
    path = tmp_path / "ids.json"
    path.write_text(document)
    with pytest.raises(InputError, match=sentence):
        read_ids(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ids_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "ids.json").write_text('[{"file_name": "é.png", "id": 1}]', encoding=encoding)
    assert read_ids(tmp_path / "ids.json") == [{"file_name": "é.png", "id": 1}]


def test_nothing_to_predict(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_images(tmp_path / "nowhere")
    put_ids(tmp_path / "test_img_ids.json", entry("a.png", 1))
    with pytest.raises(InputError, match=r"holds no image .*test_img_ids\.json: is that the file"):
        find_images(tmp_path)
    with pytest.raises(InputError, match="already holds the image ids"):
        find_images(tmp_path / "test_img_ids.json", tmp_path / "test_img_ids.json")


def test_one_image_or_id_listed_twice_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "b.png")
    ids = put_ids(tmp_path / "ids.json", entry("a.png", 1), entry("b.png", 1))
    with pytest.raises(InputError, match=r"Image id 1 stands for 2 images \(a\.png, b\.png\)"):
        find_images(ids)
    ids = put_ids(tmp_path / "ids.json", entry("x/a.png", 1), entry("x\\a.png", 2))
    with pytest.raises(InputError, match=r"lists x/a\.png 2 times: list each image once"):
        find_images(ids)
