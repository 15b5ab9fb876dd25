"""Readers of label maps: twin folders, and Cellpose's files beside their images."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import tifffile
from reader_files import SHAPE, assert_masks, box, label_map, read_all, write_image, write_labels

from nucleiseg.data.readers.cellpose import CellposeReader
from nucleiseg.data.readers.label_maps import LabelMapsReader
from nucleiseg.errors import InputError
from nucleiseg.structures import EVERY_CLASS

FIRST, SECOND, TOUCHING = box(2, 3, 8, 9), box(12, 15, 20, 24), box(2, 9, 8, 14)
LABELS = label_map(FIRST, SECOND, TOUCHING)


def test_twin_folders_with_gaps_in_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "images/a.png")
    write_image(tmp_path / "images/b.tif")
    write_image(tmp_path / "images/c.tif")
    write_labels(tmp_path / "masks/a.png", LABELS)
    tifffile.imwrite(tmp_path / "masks/b.tif", LABELS.astype(np.uint32) * 70_000)
    samples = read_all(LabelMapsReader(root=tmp_path))
    assert list(samples) == ["a", "b"]
    for sample in samples.values():
        assert_masks(sample, [FIRST, SECOND, TOUCHING])
        assert sample.noticed == {"label_maps": 1}
    assert "Skipped 1 image without a label map of the same name: c.tif." in capsys.readouterr().err


def test_pixels_of_minus_one_are_an_ignore_region(tmp_path: Path) -> None:
    write_image(tmp_path / "twins/images/a.png")
    write_image(tmp_path / "cellpose/a.png")
    vague = box(20, 0, 24, 8)
    for name in ("twins/masks/a.tif", "cellpose/a_masks.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / name, np.where(vague, -1, LABELS).astype(np.int16))
    for reader in (LabelMapsReader(root=tmp_path / "twins"), CellposeReader(root=tmp_path / "cellpose")):
        sample = read_all(reader)["a"]
        assert_masks(sample, [FIRST, SECOND, TOUCHING])
        assert sample.ignore is not None
        assert (sample.ignore.plane == vague).all()
        assert sample.ignore.labels.tolist() == [EVERY_CLASS]
        assert sample.noticed["ignored"] == 1


@pytest.mark.parametrize(("images", "masks"), [("train/images", "train/masks"), ("Images", "Labels"), ("raw", "masks")])
def test_other_names_and_depths_of_the_folders(tmp_path: Path, images: str, masks: str) -> None:
    write_image(tmp_path / images / "a.png")
    write_labels(tmp_path / masks / "a_label.tif", LABELS)
    assert_masks(read_all(LabelMapsReader(root=tmp_path))["a"], [FIRST, SECOND, TOUCHING])


def test_images_of_one_name_in_train_and_test(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_image(tmp_path / part / "images/1.png")
        write_labels(tmp_path / part / "masks/1.png", LABELS)
    assert sorted(read_all(LabelMapsReader(root=tmp_path))) == ["test_images_1", "train_images_1"]


def test_a_binary_mask_of_all_nuclei_is_a_warning(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_labels(tmp_path / "masks/a.png", (LABELS > 0).astype(np.uint8) * 255)
    sample = read_all(LabelMapsReader(root=tmp_path))["a"]
    assert len(sample) == 1
    assert sample.noticed == {"parts": 1}


def test_twin_folders_that_share_no_name_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    write_labels(tmp_path / "masks/b.png", LABELS)
    with pytest.raises(InputError, match=r"should have images/NAME\.tif and masks/NAME\.tif"):
        LabelMapsReader(root=tmp_path).records()


def write_seg(path: Path, masks: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(
        path, {"masks": masks, "outlines": LABELS, "filename": "a.tif", "est_diam": np.float64(3)}, allow_pickle=True
    )


@pytest.mark.parametrize("suffix", [".tif", ".tiff", ".png"])
def test_cellpose_masks(tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "a.tif")
    write_image(tmp_path / "b.tif")
    write_image(tmp_path / "a_flows.tif")
    write_labels(tmp_path / f"a_masks{suffix}", LABELS)
    write_seg(tmp_path / "a_seg.npy", np.zeros(SHAPE, np.uint16))
    samples = read_all(CellposeReader(root=tmp_path))
    assert_masks(samples["a"], [FIRST, SECOND, TOUCHING])
    assert samples["a"].noticed == {}
    assert "Skipped 1 image without masks: b.tif." in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32])
def test_cellpose_dictionary(tmp_path: Path, dtype: type) -> None:
    write_image(tmp_path / "x/a.png")
    write_seg(tmp_path / "x/a_seg.npy", LABELS.astype(dtype))
    assert_masks(read_all(CellposeReader(root=tmp_path))["a"], [FIRST, SECOND, TOUCHING])


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made_by_a_pickle",)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (Harmful(), "refused, and nothing in it was run: it asks for"),
        (None, "has no array of masks"),
        (LABELS.astype(np.float32) + 0.5, "is not a label map"),
        (-LABELS.astype(np.int32), "is not a label map"),
        (LABELS[:5], "has masks of 32 x 5 pixels, its image 32 x 24"),
    ],
)
def test_a_cellpose_dictionary_that_is_not_sound(
    tmp_path: Path, masks: object, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "a.png")
    write_seg(tmp_path / "a_seg.npy", masks)
    with pytest.raises(InputError, match=words):
        read_all(CellposeReader(root=tmp_path))
    assert not Path("made_by_a_pickle").exists()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", pickle.dumps({"masks": 1})])
def test_a_damaged_cellpose_dictionary_is_named(tmp_path: Path, content: bytes) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "a_seg.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a_seg\.npy is not a NumPy file"):
        read_all(CellposeReader(root=tmp_path))


def test_an_array_instead_of_a_dictionary_and_a_list_in_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    np.save(tmp_path / "a_seg.npy", LABELS)
    with pytest.raises(InputError, match="an array instead of Cellpose's dictionary"):
        read_all(CellposeReader(root=tmp_path))
    listed = np.empty((), object)
    listed[()] = [1, 2]
    np.save(tmp_path / "a_seg.npy", listed, allow_pickle=True)
    with pytest.raises(InputError, match="something else than a dictionary"):
        read_all(CellposeReader(root=tmp_path))
