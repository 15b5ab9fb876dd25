"""Slides as scanners and programs write them: every oddity opens with all levels, the right pixels and resolution."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from nucleiseg.errors import InputError
from nucleiseg.slides import openslide_slide, tiff_slide
from nucleiseg.slides.opening import is_slide, open_slide
from nucleiseg.slides.openslide_slide import OpenSlideSlide
from nucleiseg.slides.slide import Resolution, Slide, pyramid
from nucleiseg.slides.tiff_slide import TiffSlide

HEIGHT, WIDTH = 608, 912

PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)

QUARTER_MICROMETER: dict[str, Any] = {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}

APERIO = "Aperio Image Library v11.2.1\r\n912x608 [0,0 912x608] (128x128) RGB"


def write_levels(path: Path, *, marked: bool = True, factors: tuple[int, ...] = (1, 4, 16), **options: Any) -> Path:  # noqa: ANN401
    """Write a pyramid as pages of tiles; its levels are pixels of level 0, so that they can be told apart."""
    options = {"tile": (128, 128), **QUARTER_MICROMETER, **options}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor in factors:
            pixels = np.ascontiguousarray(PIXELS[::factor, ::factor])
            file.write(pixels, photometric="rgb", subfiletype=int(marked and factor > 1), metadata=None, **options)
    return path


def write_sub_ifds(path: Path) -> Path:
    sizes = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        options: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb"}
        file.write(PIXELS, subifds=2, metadata={"axes": "YXS", **sizes}, **options)
        for factor in (4, 16):
            file.write(np.ascontiguousarray(PIXELS[::factor, ::factor]), subfiletype=1, **options)
    return path


def write_strips(path: Path, **options: Any) -> Path:  # noqa: ANN401
    tifffile.imwrite(path, PIXELS, photometric="rgb", rowsperstrip=16, **QUARTER_MICROMETER, **options)
    return path


VARIANTS: dict[str, Callable[[Path], Slide]] = {
    "marked.tif": lambda path: TiffSlide(write_levels(path, compression="zlib")),
    "unmarked.tif": lambda path: TiffSlide(write_levels(path, marked=False)),
    "sub_ifds.ome.tif": lambda path: TiffSlide(write_sub_ifds(path)),
    "strips.tif": lambda path: TiffSlide(write_strips(path, compression="zlib", predictor=True)),
    "lzw.tif": lambda path: TiffSlide(write_levels(path, compression="lzw")),
    "zstd.tif": lambda path: TiffSlide(write_levels(path, compression="zstd")),
    "openslide.tif": lambda path: OpenSlideSlide(write_levels(path, compression="zlib")),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_levels_pixels_and_resolution_of_a_variant(name: str, tmp_path: Path) -> None:
    if name in ("lzw.tif", "zstd.tif"):
        pytest.importorskip("imagecodecs")
    if name == "openslide.tif":
        pytest.importorskip("openslide")
    with closing(VARIANTS[name](tmp_path / name)) as slide:
        factors = [1] if name == "strips.tif" else [1, 4, 16]
        assert [level.downsample for level in slide.levels] == factors
        assert slide.size == (HEIGHT, WIDTH)
        assert slide.resolution is not None
        assert slide.resolution.mpp == pytest.approx(0.25)
        for number, factor in enumerate(factors):
            stored = PIXELS[::factor, ::factor]
            height, width = stored.shape[:2]
            top, left = height // 3, width // 5
            region = slide.read(number, top, left, height, width)  # a part of it beyond the slide
            assert (region[: height - top, : width - left] == stored[top:, left:]).all()
            assert (region[height - top :] == 255).all()
            assert (region[:, width - left :] == 255).all()


def test_photographs_of_labels_and_rounded_levels_are_told_apart() -> None:
    sizes = [(4001, 6003), (500, 400), (1000, 1500), (1001, 1501), (250, 376), (900, 1500)]
    assert {index: level.downsample for index, level in pyramid(sizes).items()} == {0: 1, 2: 4, 4: 16}


def test_the_level_that_is_read_has_the_wanted_detail(tmp_path: Path) -> None:
    with closing(TiffSlide(write_levels(tmp_path / "a.tif"))) as slide:
        assert [slide.level_for(wanted) for wanted in (0.5, 1, 3.9, 3.99, 4, 15, 16, 400)] == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("opens", [TiffSlide, OpenSlideSlide])
def test_a_missing_resolution_is_guessed_from_the_objective_and_marked(tmp_path: Path, opens: type[Slide]) -> None:
    pytest.importorskip("openslide")
    stated = write_levels(tmp_path / "a.svs", description=f"{APERIO}|AppMag = 20|MPP = 0.4990", resolution=(1, 1))
    with closing(opens(stated)) as slide:
        assert slide.resolution == Resolution(0.499, "the file")
    guessed = write_levels(tmp_path / "b.svs", description=f"{APERIO}|AppMag = 20", resolution=(1, 1))
    with closing(opens(guessed)) as slide:
        assert slide.resolution == Resolution(0.5, "the objective's power, 20x", is_guess=True)
    silent = write_levels(tmp_path / "c.tif", resolution=(1, 1), resolutionunit="NONE")
    with closing(opens(silent)) as slide:
        assert slide.resolution is None


def test_which_reader_opens_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openslide")
    path = write_levels(tmp_path / "a.svs", description=f"{APERIO}|AppMag = 20|MPP = 0.4990")
    with closing(open_slide(path)) as slide:
        assert isinstance(slide, TiffSlide)
    monkeypatch.setattr("nucleiseg.slides.opening.detect_vendor", lambda path: "philips")
    with closing(open_slide(path)) as slide:
        assert isinstance(slide, OpenSlideSlide)


def test_slides_are_told_from_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tmp_path / "image.tif"
    tifffile.imwrite(image, PIXELS, photometric="rgb")
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.stack([PIXELS] * 3), photometric="rgb")
    text = tmp_path / "text.tif"
    text.write_text("no image")
    (tmp_path / "a.mrxs").touch()
    assert [is_slide(path) for path in (image, stack, text, tmp_path, tmp_path / "missing.svs")] == [False] * 5
    pyramids = [write_levels(tmp_path / "a.tif"), write_levels(tmp_path / "b.tif", marked=False)]
    pyramids.append(write_sub_ifds(tmp_path / "c.ome.tif"))
    assert all(is_slide(path) for path in (*pyramids, tmp_path / "a.mrxs"))
    monkeypatch.setattr("nucleiseg.slides.opening.MOST_PIXELS", HEIGHT * WIDTH - 1)
    assert is_slide(image)


def test_a_compression_that_needs_a_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imagecodecs")
    path = write_levels(tmp_path / "a.tif", compression="zstd")

    def decode(*args: object, **options: object) -> None:  # as tifffile's where it cannot import the package
        raise ValueError("<COMPRESSION.ZSTD: 50000> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPage, "decode", decode)
    with pytest.raises(InputError, match=r"compressed by ZSTD, .* pip install 'nucleiseg\[wsi\]'"):
        open_slide(path)


def test_a_format_that_needs_openslide_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    (tmp_path / "a.mrxs").touch()
    write_levels(tmp_path / "a.ndpi")
    assert openslide_slide.detect_vendor(tmp_path / "a.ndpi") is None
    for name in ("a.mrxs", "a.ndpi"):
        with pytest.raises(InputError, match=r"needs the package openslide-python: .*'nucleiseg\[wsi\]'"):
            open_slide(tmp_path / name)


def test_what_is_no_slide_is_refused_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planes = tmp_path / "planes.tif"
    tifffile.imwrite(planes, np.zeros((2, 64, 64), np.uint8), photometric="minisblack", planarconfig="separate")
    deep = tmp_path / "deep.tif"
    tifffile.imwrite(deep, PIXELS.astype(np.uint16) * 16, photometric="rgb")
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.stack([PIXELS] * 2), photometric="rgb")
    cut = write_levels(tmp_path / "cut.tif", compression="zlib")
    cut.write_bytes(cut.read_bytes()[:400])
    for path, sentence in (
        (planes, "2 samples|2 images of equal size"),
        (deep, "pixels of type uint16: give bits"),
        (stack, "2 images of equal size, a stack"),
        (cut, "cannot be read|damaged|cannot be decoded"),
        (tmp_path / "missing.tif", "cannot be read"),
    ):
        with pytest.raises(InputError, match=sentence):
            open_slide(path)
    with closing(open_slide(deep, bits=12)) as slide:
        assert (slide.read(0, 0, 0, 8, 8) == PIXELS[:8, :8]).all()
    monkeypatch.setattr(tiff_slide, "MOST_SEGMENT_BYTES", 1000)
    with pytest.raises(InputError, match="in parts of 912 x 16, which memory should not have to hold"):
        open_slide(write_strips(tmp_path / "strips.tif"))


def test_parts_that_a_scanner_left_out_are_white_and_damage_is_named(tmp_path: Path) -> None:
    def tiles() -> Iterator[np.ndarray | None]:
        for number in range(8 * 5):
            yield None if number % 2 else np.zeros((128, 128, 3), np.uint8)

    path = tmp_path / "sparse.tif"
    options: dict[str, Any] = {"shape": (HEIGHT, WIDTH, 3), "dtype": np.uint8, "tile": (128, 128)}
    tifffile.imwrite(path, tiles(), photometric="rgb", compression="zlib", **options)
    with closing(TiffSlide(path)) as slide:
        assert (slide.read(0, 0, 0, 128, 128) == 0).all()
        assert (slide.read(0, 0, 128, 128, 128) == 255).all()
    with tifffile.TiffFile(path) as file:
        offset = file.pages.first.dataoffsets[2]
    content = bytearray(path.read_bytes())
    content[offset : offset + 20] = b"x" * 20
    path.write_bytes(content)
    with closing(TiffSlide(path)) as slide, pytest.raises(InputError, match=r"sparse\.tif is damaged: part 2 of it"):
        slide.read(0, 0, 256, 128, 128)


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tif")
    digests = {TiffSlide(path).digest, TiffSlide(path).digest}
    assert len(digests) == 1
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert TiffSlide(path).digest not in digests


def test_the_cache_of_parts_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff_slide, "CACHE_BYTES", 3 * 128 * 128 * 3)
    with closing(TiffSlide(write_levels(tmp_path / "a.tif"))) as slide:
        for _ in range(2):
            assert (slide.read(0, 0, 0, HEIGHT, WIDTH) == PIXELS).all()
            assert len(slide._cache) <= 3  # type: ignore[attr-defined]
