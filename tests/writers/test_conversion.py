"""Converted data sets are read again with the same masks, and what a layout cannot hold is counted."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from PIL import Image
from predicted_images import square_masks

from nucleiseg.data.layers import pack, unpack
from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.auto import AutoReader
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.errors import InputError
from nucleiseg.structures import EVERY_CLASS, IgnoreRegions, Sample
from nucleiseg.writers.conversion import convert_data_set, safe_names
from nucleiseg.writers.data_set_formats import DATA_SET_FORMATS, Layout

SIDE = 24
READ_BY = {"coco": "coco", "folders": "folders", "labels": "cellpose", "geojson": "geojson"}
EXACT: tuple[Layout, ...] = ("coco", "folders", "geojson")


def sample_of(masks: list[np.ndarray], labels: list[int] | None = None, name: str = "a") -> Sample:
    side = masks[0].shape[0] if masks else SIDE
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    layers, layer_index = pack([mask for mask in masks if mask.any()], (side, side))
    return Sample(name, image, layers, layer_index, np.array(labels or [1] * len(layer_index), np.int64))


class FixedReader(Reader):
    """Gives samples that a test made."""

    def __init__(self, samples: list[Sample], names: tuple[str, ...] = ("nucleus",)) -> None:
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "names", names)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.names  # type: ignore[attr-defined, no-any-return]

    def records(self) -> list[Record]:
        return [Record(sample.name, index=i) for i, sample in enumerate(self.samples)]  # type: ignore[attr-defined]

    def read(self, record: Record) -> Sample:
        return self.samples[record.index]  # type: ignore[attr-defined, no-any-return]


def read_again(root: Path) -> list[Sample]:
    reader = AutoReader(root=root).resolve()
    return [reader.read(record) for record in reader.records()]


def masks_of(sample: Sample) -> list[bytes]:
    return [mask.tobytes() for mask in unpack(sample.layers, sample.layer_index)]


def assert_equal(found: Sample, expected: Sample) -> None:
    np.testing.assert_array_equal(found.image, expected.image)
    assert masks_of(found) == masks_of(expected)


@pytest.mark.parametrize("to", DATA_SET_FORMATS)
def test_folders_become_each_layout_and_come_back(to: Layout, tmp_path: Path) -> None:
    write_folders(DemoReader(images=2, size=64), tmp_path / "folders")
    reader = FoldersReader(root=tmp_path / "folders")
    expected = [reader.read(record) for record in reader.records()]
    summary = convert_data_set(reader, tmp_path / "out", to)
    assert (summary.images, summary.nuclei) == (2, sum(map(len, expected)))
    resolved = AutoReader(root=tmp_path / "out").resolve()
    assert isinstance(resolved, READERS[READ_BY[to]])
    found = read_again(tmp_path / "out")
    assert [sample.name for sample in found] == [sample.name for sample in expected]
    stacked = sum(np.count_nonzero(sample.layers) - np.count_nonzero(sample.layers.any(axis=0)) for sample in expected)
    assert summary.losses["overlapping"] == (stacked if to == "labels" else 0)
    if to != "labels":
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    back = convert_data_set(resolved, tmp_path / "back", "folders")
    assert back.nuclei == summary.nuclei - summary.losses["hidden"]
    for one, other in zip(read_again(tmp_path / "back"), found, strict=True):
        assert_equal(one, other)


@hypothesis_settings(max_examples=15, deadline=None)
@given(masks=square_masks(side=12))
@pytest.mark.parametrize("to", EXACT)
def test_any_masks_survive_where_every_mask_is_kept(
    to: Layout, masks: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Single pixels, diagonals, holes, parts, overlaps; a square keeps the folders from being without a mask."""
    square = np.ones((12, 12), bool)
    sample = sample_of([square, *masks])
    out = tmp_path_factory.mktemp("converted") / "out"
    convert_data_set(FixedReader([sample]), out, to)
    (found,) = read_again(out)
    assert_equal(found, sample)


def test_a_label_map_counts_what_it_loses_and_keeps_the_smallest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large, small, twin = (np.zeros((SIDE, SIDE), bool) for _ in range(3))
    large[2:12, 2:12] = True
    small[4:7, 4:7] = twin[4:7, 4:7] = True
    summary = convert_data_set(FixedReader([sample_of([small, large, twin])]), tmp_path / "out", "labels")
    assert summary.losses["overlapping"] == 18
    assert summary.losses["hidden"] == 1
    printed = capsys.readouterr().err
    assert "Lost: 18 pixels of masks, since a label map holds one nucleus per pixel (a)." in printed
    assert "Lost: 1 nucleus without a pixel left in the label map (a)." in printed
    (found,) = read_again(tmp_path / "out")
    assert set(masks_of(found)) == {(large & ~small).tobytes(), small.tobytes()}


def regions_of(sample: Sample) -> set[tuple[bytes, int]]:
    regions = sample.ignore
    assert regions is not None
    masks = [mask.tobytes() for mask in unpack(regions.layers, regions.layer_index)]
    return set(zip(masks, regions.labels.tolist(), strict=True))


@pytest.mark.parametrize("to", DATA_SET_FORMATS)
def test_ignore_regions_are_kept_or_counted(to: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nucleus, *vague = (np.zeros((SIDE, SIDE), bool) for _ in range(3))
    nucleus[2:5, 2:5] = vague[0][4:9, 4:20] = vague[1][8:12, 1:20] = True
    regions = IgnoreRegions(*pack(vague), np.array([EVERY_CLASS, 1]))
    noticed = replace(sample_of([nucleus]), noticed={"ignored": 2, "invalid": 3}, ignore=regions)
    summary = convert_data_set(FixedReader([noticed]), tmp_path / "out", to)
    printed = capsys.readouterr().err
    assert "Skipped 3 annotations without a pixel" in printed
    lost = "Lost: 2 crowd or ambiguous regions: nuclei in them will count as background (a)."
    (found,) = read_again(tmp_path / "out")
    assert masks_of(found) == [nucleus.tobytes()]
    if to in ("coco", "geojson"):
        assert {mask for mask, _ in regions_of(found)} == {mask.tobytes() for mask in vague}
        assert {label for _, label in regions_of(found)} == {1 if to == "coco" else EVERY_CLASS}
    else:
        assert found.ignore is None
    assert (lost in printed) == (to in ("folders", "labels"))
    assert summary.losses["ignored"] == 2 * (to in ("folders", "labels"))


def test_single_pixels_stay_labels(tmp_path: Path) -> None:
    masks = []
    for place in range(3):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[place * 5, place * 3] = True
        masks.append(mask)
    sample = sample_of(masks)
    convert_data_set(FixedReader([sample]), tmp_path / "out", "labels")
    assert_equal(read_again(tmp_path / "out")[0], sample)


@pytest.mark.parametrize("to", DATA_SET_FORMATS)
def test_classes_are_kept_or_reported(to: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = [np.zeros((SIDE, SIDE), bool) for _ in range(2)]
    masks[0][1:4, 1:4] = masks[1][8:12, 8:12] = True
    reader = FixedReader([sample_of(masks, [2, 1])], ("tumor", "lymphocyte"))
    convert_data_set(reader, tmp_path / "out", to)
    reported = f"Lost: the classes (tumor, lymphocyte), which the layout {to} does not hold" in capsys.readouterr().err
    assert reported == (to in ("folders", "labels"))
    if not reported:
        again = AutoReader(root=tmp_path / "out").resolve()
        assert again.names(again.records()[0]) == ("lymphocyte", "tumor")  # type: ignore[attr-defined]


def test_a_file_is_copied_if_it_shows_the_annotated_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "folders"
    write_folders(DemoReader(images=2, size=32), root)
    deep = root / "demo_000" / "images" / "demo_000.png"
    Image.fromarray(np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)).save(deep)
    turned = root / "demo_001" / "images" / "demo_001.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(turned).save(turned, exif=exif)
    for mask in (root / "demo_001" / "masks").iterdir():
        Image.open(mask).save(mask, exif=exif)
    convert_data_set(FoldersReader(root=root), tmp_path / "out", "coco")
    assert (tmp_path / "out" / "images" / "demo_000.png").read_bytes() == deep.read_bytes()
    assert "the pixels of 1 image are written as 8-bit RGB PNG (demo_001)" in capsys.readouterr().err
    expected = {r.name: FoldersReader(root=root).read(r) for r in FoldersReader(root=root).records()}
    for sample in read_again(tmp_path / "out"):
        assert_equal(sample, expected[sample.name])


def test_a_broken_image_is_left_out_and_named(tmp_path: Path) -> None:
    root = tmp_path / "folders"
    write_folders(DemoReader(images=2, size=32), root)
    (root / "demo_000" / "images" / "demo_000.png").write_bytes(b"broken")
    summary = convert_data_set(FoldersReader(root=root), tmp_path / "out", "geojson")
    assert list(summary.failed) == ["demo_000"]
    assert [sample.name for sample in read_again(tmp_path / "out")] == ["demo_001"]
    (root / "demo_001" / "images" / "demo_001.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="demo_001"):
        convert_data_set(FoldersReader(root=root), tmp_path / "none", "geojson")
    assert {path.name for path in tmp_path.iterdir()} == {"folders", "out"}


def test_an_output_with_files_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(InputError, match="exists already and is not an empty folder"):
        convert_data_set(DemoReader(images=1, size=32), tmp_path, "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_names_stay_apart_and_are_not_taken_for_masks() -> None:
    names = safe_names(["a", "A", "b_masks", "c:d", "x.y"])
    assert len({name.lower() for name in names}) == 5
    assert names[2] == "b_masks_image"
    assert names[4] == "x.y"
    assert not set("".join(names)) & set("/:\\")
