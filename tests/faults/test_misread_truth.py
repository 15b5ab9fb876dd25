"""Truth that could be misread in silence: read by one rule, reported, or refused by name."""

import os
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleiseg.data.cache import SampleCache, Summary, load_all
from nucleiseg.data.layers import MOST_PLANES, TooManyPlanesError, pack, unpack
from nucleiseg.data.readers import pixels
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.data.readers.images import decode_image
from nucleiseg.data.readers.masks import read_mask
from nucleiseg.errors import InputError
from nucleiseg.structures import Sample

SIZE = 64
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
IMAGE = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
DISCS = [(ROWS - y) ** 2 + (COLUMNS - x) ** 2 <= 36 for y, x in ((10, 10), (12, 40), (45, 20))]
LABELS = sum(number * disc for number, disc in enumerate(DISCS, 1)).astype(np.uint16)
COLORS = np.array([[0, 0, 0], [200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)


def add(root: Path, name: str, masks: dict[str, Image.Image], image: np.ndarray = IMAGE, **options: object) -> Path:
    for folder in ("images", "masks"):
        (root / name / folder).mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(root / name / "images" / f"{name}.png", **options)
    for file, mask in masks.items():
        mask.save(root / name / "masks" / file)
    return root / name


def binary(mask: np.ndarray, value: int = 255) -> Image.Image:
    return Image.fromarray(mask * np.uint8(value))


def only(root: Path) -> Sample:
    reader = FoldersReader(root=root)
    (record,) = reader.records()
    return reader.read(record)


def masks_of(sample: Sample) -> list[np.ndarray]:
    return list(unpack(sample.layers, sample.layer_index))


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as error:
        only(root)
    return str(error.value)


def check(root: Path) -> list[Summary]:
    return load_all(FoldersReader(root=root), SampleCache(None))


def palette_image(labels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
    picture.putpalette(COLORS.ravel().tolist())
    return picture


LABEL_MAPS = {
    "16 bit": Image.fromarray(LABELS),
    "8 bit": Image.fromarray(LABELS.astype(np.uint8)),
    "32 bit": Image.fromarray(LABELS.astype(np.int32) * 70_000),
    "floating point": Image.fromarray(LABELS.astype(np.float32)),
    "with gaps": Image.fromarray(np.array([0, 90, 130, 250], np.uint8)[LABELS]),
    "palette": palette_image(LABELS),
    "RGB": Image.fromarray(COLORS[LABELS]),
    "three equal channels": Image.fromarray(np.dstack([LABELS.astype(np.uint8)] * 3)),
}


@pytest.mark.parametrize("kind", LABEL_MAPS)
def test_a_label_map_is_read_as_one(tmp_path: Path, kind: str) -> None:
    add(tmp_path, "a", {"labels.tif": LABEL_MAPS[kind]})
    sample = only(tmp_path)
    assert sample.noticed == {"label_maps": 1}
    assert sorted(mask.tobytes() for mask in masks_of(sample)) == sorted(disc.tobytes() for disc in DISCS)
    assert len(sample.layers) == 1


def test_nuclei_that_are_few_in_a_large_image_are_not_taken_for_noise(tmp_path: Path) -> None:
    labels = np.zeros((400, 400), np.uint8)
    for number in range(1, 4):
        labels[number * 50 : number * 50 + 5, 100:105] = number
    assert (labels > 0).mean() < 0.01  # all but these pixels are 0: 99 % of them say nothing
    add(tmp_path, "a", {"labels.png": Image.fromarray(labels)}, np.zeros((400, 400, 3), np.uint8))
    assert len(only(tmp_path)) == 3


@pytest.mark.parametrize("value", [1, 7, 255])
def test_one_nucleus_is_one_by_both_readings(tmp_path: Path, value: int) -> None:
    add(tmp_path, "a", {"mask.png": binary(DISCS[0], value)})
    sample = only(tmp_path)
    assert sample.noticed == {}
    np.testing.assert_array_equal(masks_of(sample), DISCS[:1])


def test_one_mask_of_all_nuclei_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(tmp_path, "a", {"mask.png": binary(LABELS > 0)})
    assert len(check(tmp_path)[0]) == 1
    assert "1 image has a single mask of several parts, read as one nucleus" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_jpeg_masks_are_cut_at_half_and_counted_whatever_their_name(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add(tmp_path, "a", {})
    for number, disc in enumerate(DISCS):
        binary(disc).save(folder / "masks" / f"{number}.{suffix}", format="JPEG", quality=90)
    sample = only(tmp_path)
    assert sample.noticed == {"thresholded": 3}
    for mask, disc in zip(masks_of(sample), DISCS, strict=True):
        assert (mask ^ disc).sum() <= 4
    check(tmp_path)
    assert "3 masks have values between 0 and their maximum (JPEG, or resized)" in capsys.readouterr().err


@pytest.mark.parametrize("alone", [True, False])
def test_smoothed_edges_are_cut_at_half(tmp_path: Path, alone: bool) -> None:
    large = binary(np.pad(DISCS[0], 32)).resize((256, 256), Image.Resampling.BILINEAR)
    large.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", alone)
    assert mask.thresholded
    np.testing.assert_array_equal(mask.values, np.asarray(large) >= 127.5)


def test_a_label_map_beside_masks_is_refused_with_both_readings(tmp_path: Path) -> None:
    add(tmp_path, "a", {"labels.png": LABEL_MAPS["8 bit"], "mask.png": binary(DISCS[0])})
    text = refusal(tmp_path)
    assert "labels.png holds 4 different values, it looks like a label map beside other masks" in text
    assert "a mask of one nucleus has 0 and one other value, a label map has" in text


@pytest.mark.parametrize("count", [1, 2])
def test_pictures_class_maps_and_lossy_label_maps_are_refused(tmp_path: Path, count: int) -> None:
    noise = np.random.default_rng(1)
    scattered = [(ROWS % 16 < 8) & (COLUMNS % 16 < 8), (ROWS % 16 >= 8) & (COLUMNS % 16 >= 8)]
    distance = np.hypot(ROWS - 32, COLUMNS - 32)
    odd = {
        "picture": IMAGE[:, :, 0],
        "deep picture": noise.integers(0, 4096, (SIZE, SIZE), dtype=np.uint16),
        "blurred": np.clip(255 - distance * 6, 0, 255).astype(np.uint8),
        "classes": (scattered[0] * 1 + scattered[1] * 2).astype(np.uint8),
    }
    for name, values in odd.items():
        root = tmp_path / name
        add(root, "a", {f"{number}.png": Image.fromarray(values) for number in range(count)})
        assert "0.png holds" in refusal(root), name


def test_values_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    for name, values, words in (
        ("negative", LABELS.astype(np.int32) - 2, "negative values"),
        ("nan", np.where(LABELS > 0, LABELS, np.nan).astype(np.float32), "not finite"),
    ):
        add(tmp_path / name, "a", {"mask.tif": Image.fromarray(values)})
        assert words in refusal(tmp_path / name)


def test_alpha_is_the_mask_where_it_alone_tells(tmp_path: Path) -> None:
    alpha = DISCS[0] * np.uint8(255)
    opaque, black, white = np.full_like(alpha, 255), np.zeros_like(alpha), np.full_like(alpha, 255)
    kinds = {
        "black on transparent": np.dstack([black, black, black, alpha]),
        "white on transparent": np.dstack([white, white, white, alpha]),
        "half transparent red": np.dstack([white, black, black, alpha // 2]),
        "opaque": np.dstack([alpha, alpha, alpha, opaque]),
        "invisible colors": np.dstack([alpha, alpha, alpha, black]),
    }
    for name, values in kinds.items():
        Image.fromarray(values).save(tmp_path / "mask.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "mask.png").values, DISCS[0], err_msg=name)


def test_inverted_and_stacked_masks_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(tmp_path, "a", {f"{number}.png": binary(~disc) for number, disc in enumerate(DISCS)})
    inner = (ROWS - 10) ** 2 + (COLUMNS - 11) ** 2 <= 25
    add(tmp_path, "b", {"1.png": binary(DISCS[0]), "2.png": binary(inner), "3.png": binary(DISCS[1])})
    first, second = check(tmp_path)
    assert (first.warnings, second.warnings) == ({"large": 3}, {"overlapping": 2})
    err = capsys.readouterr().err
    assert "3 masks cover more than half of their image; they look inverted" in err
    assert "2 masks lie by more than half under other masks" in err


def test_hundreds_of_inverted_masks_end_in_a_sentence_at_once(tmp_path: Path) -> None:
    shape = (800, 800)
    mask = np.full(shape, 255, np.uint8)
    mask[9, :9] = 0
    folder = add(tmp_path, "a", {"0.png": Image.fromarray(mask)}, np.zeros((*shape, 3), np.uint8))
    content = (folder / "masks/0.png").read_bytes()
    for number in range(1, 600):
        (folder / "masks" / f"{number}.png").write_bytes(content)
    start = time.process_time()  # unlike the clock, it does not depend on the load of the machine
    text = refusal(tmp_path)
    assert time.process_time() - start < 60  # 0.6 s; two minutes were not enough without the limit
    assert "they look inverted" in text


def test_a_limit_on_planes_and_no_search_of_full_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = np.ones((4, 4), bool)
    assert len(pack([everything] * MOST_PLANES)[0]) == MOST_PLANES
    with pytest.raises(TooManyPlanesError) as error:
        pack([everything] * (MOST_PLANES + 1))
    assert (error.value.count, error.value.large) == (MOST_PLANES + 1, MOST_PLANES + 1)
    monkeypatch.setattr("nucleiseg.data.layers._fits", lambda *_: pytest.fail("searched a plane without space"))
    pack([everything] * 5)


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_turned_image_needs_masks_turned_alike(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = orientation
    folder = add(tmp_path, "a", {"1.png": binary(DISCS[0])}, exif=exif)
    text = refusal(tmp_path)
    assert f"EXIF orientation {orientation}" in text
    assert "1.png has 1" in text
    binary(DISCS[0]).save(folder / "masks/1.png", exif=exif)
    sample = only(tmp_path)
    np.testing.assert_array_equal(sample.image, pixels.upright(IMAGE, orientation))
    np.testing.assert_array_equal(masks_of(sample), [pixels.upright(DISCS[0], orientation)])


def test_the_size_tells_how_masks_of_a_turned_image_lie(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = 6
    wide = DISCS[0][:40]
    folder = add(tmp_path, "a", {"1.png": binary(np.rot90(wide, -1))}, IMAGE[:40], exif=exif)
    np.testing.assert_array_equal(masks_of(only(tmp_path)), [np.rot90(wide, -1)])
    binary(wide).save(folder / "masks/1.png")
    assert "The image has the EXIF orientation 6, which is applied" in refusal(tmp_path)


def test_what_is_not_read_is_named_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add(tmp_path, "a", {"1.png": binary(DISCS[0])})
    Image.fromarray(IMAGE).save(tmp_path / "overview.png")
    for path in ("masks/2.npy", "images/a.xml", "masks/Thumbs.db", "masks/.DS_Store"):
        (folder / path).write_bytes(b"")
    for path in ("masks/more", "overlays", "masks/.ipynb_checkpoints"):
        (folder / path).mkdir()
    FoldersReader(root=tmp_path).records()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "not read" in line]
    assert line.startswith(f"Warning: 5 files and folders in {tmp_path} not read: ")
    for name in ("overview.png", "a/overlays", "a/images/a.xml", "a/masks/2.npy", "a/masks/more"):
        assert name in line


@pytest.mark.parametrize("name", ["images", "masks"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path, name: str) -> None:
    add(tmp_path, "b", {"1.png": binary(DISCS[0])})
    folder = add(tmp_path, "a", {})
    for file in (folder / name).iterdir():
        file.unlink()
    (folder / name).rmdir()
    (folder / name).write_bytes(b"")
    first = FoldersReader(root=tmp_path).records()[0]
    assert first.problem is not None
    assert "is not a folder" in first.problem


def test_images_in_one_folder_and_masks_in_another_are_recognized(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "d" / folder).mkdir(parents=True)
        for name in "abc":
            Image.fromarray(IMAGE).save(tmp_path / "d" / folder / f"{name}.png")
    text = refusal(tmp_path / "d")
    assert "3 images in one folder" in text
    assert f"data.root to {tmp_path}" not in text
    assert "holds 3 images (a.png, b.png, c.png): give each a folder of its own" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "loop"])
@pytest.mark.parametrize("where", ["images/a.png", "masks/1.png"])
def test_what_is_no_regular_file_is_refused_unread(
    tmp_path: Path, kind: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = add(tmp_path, "a", {"1.png": binary(DISCS[0]), "2.png": binary(DISCS[1])}) / where
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # the path of a socket is short
        socket.socket(socket.AF_UNIX).bind(path.name)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    reader = FoldersReader(root=tmp_path)
    (record,) = reader.records()
    for use in (reader.read, reader.key):
        with pytest.raises(InputError, match=path.name):
            use(record)


def test_too_large_is_not_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    Image.new("1", (14_000, 13_000)).save(path)
    with pytest.raises(InputError, match=r"huge\.png .*178,956,970 pixels .*cut it into tiles") as error:
        decode_image(path)
    assert "replace" not in str(error.value)
    monkeypatch.setattr(pixels, "MOST_PIXELS", 100)
    for suffix in ("png", "tif"):
        Image.fromarray(IMAGE).save(tmp_path / f"a.{suffix}")
        with pytest.raises(InputError, match="64 x 64 pixels, more than the 100"):
            decode_image(tmp_path / f"a.{suffix}")


def test_a_mask_of_another_size_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("png", "tif"):
        Image.fromarray(LABELS).save(tmp_path / f"a.{suffix}")
        found = read_mask(tmp_path / f"a.{suffix}", area=5)
        assert (found.values, found.shape) == (None, (SIZE, SIZE))


def write_tiff(tmp_path: Path, values: np.ndarray, **options: object) -> Path:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, **options)
    return path


DEEP = IMAGE.astype(np.uint16) << 4


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (np.moveaxis(DEEP, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.moveaxis(DEEP, 2, 0), {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib"}),
        (np.moveaxis(IMAGE, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (DEEP, {"photometric": "rgb", "compression": "zlib", "predictor": True}),
        (IMAGE.astype(np.float32) / 255, {"photometric": "rgb"}),
        (IMAGE.astype(np.float64) / 255, {"photometric": "rgb"}),
    ],
)
def test_tiff_files_that_pillow_reads_wrongly_are_right(
    tmp_path: Path, values: np.ndarray, options: dict[str, object]
) -> None:
    np.testing.assert_array_equal(decode_image(write_tiff(tmp_path, np.ascontiguousarray(values), **options)), IMAGE)


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, np.int64, np.float16])
def test_labels_of_every_depth_in_tiff(tmp_path: Path, dtype: type) -> None:
    add(tmp_path, "a", {})
    tifffile.imwrite(tmp_path / "a/masks/a.tif", LABELS.astype(dtype))
    assert len(only(tmp_path)) == 3


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_compressions_that_tifffile_lacks_are_left_to_pillow(tmp_path: Path, compression: str, dtype: type) -> None:
    Image.fromarray(LABELS.astype(dtype)).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif", alone=True).values, LABELS)


CHANNELS = np.zeros((SIZE, SIZE, 2), np.uint8)


@pytest.mark.parametrize(
    ("values", "options", "words"),
    [
        (CHANNELS, {"photometric": "minisblack", "planarconfig": "contig"}, "2 channels that are not declared"),
        (CHANNELS[..., [0] * 5], {"photometric": "minisblack", "planarconfig": "contig"}, "5 channels"),
        (np.zeros((4, SIZE, SIZE), np.uint16), {"imagej": True}, "stack of 4 pages"),
        (np.zeros((SIZE, SIZE), np.complex64), {}, "complex numbers"),
        (np.full((SIZE, SIZE), np.nan, np.float32), {}, "no finite value"),
        (np.random.default_rng(0).normal(size=(SIZE, SIZE)), {}, "below 0"),
        (np.where(LABELS == 1, 1e6, ROWS * 3.0) * (COLUMNS < 12), {}, None),
    ],
)
def test_tiff_files_of_unknown_meaning_are_refused(
    tmp_path: Path, values: np.ndarray, options: dict[str, object], words: str | None
) -> None:
    path = write_tiff(tmp_path, values, **options)
    if words is None:  # a hundredth of the pixels is no outlier
        decode_image(path)
        return
    with pytest.raises(InputError, match=words):
        decode_image(path)


@pytest.mark.parametrize("scale", [1, 200])
def test_a_few_outliers_of_a_floating_point_image_are_refused(tmp_path: Path, scale: float) -> None:
    values = (IMAGE[:, :, 0] / 255 * scale).astype(np.float32)
    values[3, 4] = 1e6
    with pytest.raises(InputError, match=r"a few outliers would turn all others black: clip them"):
        decode_image(write_tiff(tmp_path, values))
    values[3, 4] = np.nan
    assert decode_image(write_tiff(tmp_path, values)).max() > 150


def test_pixels_that_are_not_finite_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = add(tmp_path, "a", {"1.png": binary(DISCS[0])})
    values = (IMAGE[:, :, 0] / 255).astype(np.float32)
    values[3, 4] = np.nan
    (folder / "images/a.png").unlink()
    tifffile.imwrite(folder / "images/a.tif", values)
    check(tmp_path)
    assert "1 image has pixels that are not finite (NaN), shown as black: a." in capsys.readouterr().err
