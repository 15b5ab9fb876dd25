"""OME-Zarr stores: readers get pixels, labels and pyramids back; older stores are replaced whole."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from predicted_images import SIDE, predicted_image

from nucleiseg.errors import InputError
from nucleiseg.writers import ome_zarr_labels
from nucleiseg.writers.registry import make_writers
from nucleiseg.writers.result_set import MANIFEST, begin, locked, publish

needs_zarr = pytest.mark.skipif(importlib.util.find_spec("zarr") is None, reason="the extra zarr is not installed")
has_ome_zarr = importlib.util.find_spec("ome_zarr") is not None


def read_store(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the levels of the image and of its labels, as the metadata name them."""
    import zarr

    def levels(group: zarr.Group) -> list[np.ndarray]:
        (scales,) = group.attrs["multiscales"]
        return [np.asarray(group[dataset["path"]]) for dataset in scales["datasets"]]

    root = zarr.open_group(str(path), mode="r")
    (name,) = root["labels"].attrs["labels"]
    return levels(root), levels(root["labels"][name])


def read_with_ome_zarr(path: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the same as ome-zarr's reader finds them."""
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    nodes = {node.zarr.basename(): [np.asarray(level) for level in node.data] for node in Reader(parse_url(path))()}
    return nodes[path.name], nodes["nuclei"]


@needs_zarr
def test_labels_come_back_in_every_level(tmp_path: Path) -> None:
    labels = np.kron(np.arange(1, 257, dtype=np.uint32).reshape(16, 16), np.ones((70, 36), np.uint32))
    labels[::7] = 0
    pixels = np.random.default_rng(0).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    path = tmp_path / "a.zarr"
    path.mkdir()
    ome_zarr_labels.write_store(path, pixels, labels, 0.25)
    images, levels = read_store(path)
    for own, others in zip((images, levels), read_with_ome_zarr(path) if has_ome_zarr else (), strict=False):
        assert [level.tolist() for level in own] == [level.tolist() for level in others]
    np.testing.assert_array_equal(images[0], pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(levels[0], labels)
    assert [level.shape for level in levels] == [image.shape[1:] for image in images] == [(1120, 576), (560, 288)]
    assert levels[0].dtype == np.uint32
    assert set(np.unique(levels[1])) <= set(np.unique(labels)), "no label is invented"
    group = json.loads((path / "labels" / "nuclei" / ".zattrs").read_text())
    (scales,) = group["multiscales"]
    assert scales["version"] == "0.4"
    assert {axis["unit"] for axis in scales["axes"]} == {"micrometer"}
    assert [d["coordinateTransformations"][0]["scale"] for d in scales["datasets"]] == [[0.25, 0.25], [0.5, 0.5]]


@needs_zarr
def test_a_store_holds_the_nuclei_that_count_and_their_losses(tmp_path: Path) -> None:
    mask = np.ones((SIDE, SIDE), bool)
    (writer,) = make_writers(["zarr"]).values()
    path = tmp_path / "a.zarr"
    for _ in range(2):  # again over the store of an image whose record a kill prevented
        assert writer.write_image(path, predicted_image([mask, mask])) == {"lost": SIDE**2, "hidden": 1}
    _, (labels,) = read_store(path)
    np.testing.assert_array_equal(labels, 1)
    assert [item.name for item in tmp_path.iterdir()] == ["a.zarr"]


def test_a_missing_package_is_named_before_work_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ome_zarr_labels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package zarr: install it with pip install 'nucleiseg\[zarr\]'"):
        make_writers(["zarr"])


def test_files_of_an_older_store_are_removed_and_others_stay(tmp_path: Path) -> None:
    for chunk in ("0/0", "0/1"):
        with locked(tmp_path):
            new = begin(tmp_path, {}, resume=False) / "new"
            (new / "zarr" / "a.zarr" / "0").mkdir(parents=True)
            (new / "zarr" / "a.zarr" / ".zattrs").write_text("{}")
            (new / "zarr" / "a.zarr" / chunk).write_text(chunk)
            publish(tmp_path, {}, ["zarr/a.zarr/.zattrs", f"zarr/a.zarr/{chunk}"], {})
        (tmp_path / "zarr" / "mine").write_text("mine")
    files = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "zarr").rglob("*") if path.is_file()}
    assert files == {"zarr/a.zarr/.zattrs", "zarr/a.zarr/0/1", "zarr/mine"}
    assert (tmp_path / MANIFEST).is_file()
