"""Decoding: every kind of file becomes the same RGB or the same mask, and a damaged one a sentence with its name."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image, ImageFile

from nucleiseg.data.readers.images import decode_image, to_eight_bits
from nucleiseg.data.readers.masks import read_mask
from nucleiseg.errors import InputError

PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
GRAY = np.arange(0, 252, dtype=np.uint8).reshape(12, 21)
RGB = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=2)
MASK = GRAY % 5 < 2


def decode_mask(path: Path) -> np.ndarray:
    mask = read_mask(path)
    assert mask.values is not None
    return mask.values


def save(tmp_path: Path, picture: Image.Image, suffix: str = "png", **options: object) -> Path:
    path = tmp_path / f"picture.{suffix}"
    picture.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
def test_rgb_survives_every_lossless_format(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    decoded = decode_image(save(tmp_path, Image.fromarray(RGB), suffix, **options))
    np.testing.assert_array_equal(decoded, RGB)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous


def test_jpeg_is_read_closely(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(RGB, (0, 0), 3)
    decoded = decode_image(save(tmp_path, Image.fromarray(smooth), "jpg", quality=100, subsampling=0))
    assert np.abs(decoded.astype(int) - smooth).max() <= 3


def test_alpha_is_dropped_whatever_it_says(tmp_path: Path) -> None:
    transparent = np.dstack([RGB, GRAY])
    np.testing.assert_array_equal(decode_image(save(tmp_path, Image.fromarray(transparent))), RGB)


@pytest.mark.parametrize("mode", ["L", "LA", "P"])
def test_grey_has_three_equal_channels(tmp_path: Path, mode: str) -> None:
    decoded = decode_image(save(tmp_path, Image.fromarray(GRAY).convert(mode)))
    np.testing.assert_array_equal(decoded, np.dstack([GRAY] * 3))


def test_one_bit_is_black_and_white(tmp_path: Path) -> None:
    decoded = decode_image(save(tmp_path, Image.fromarray(MASK)))
    np.testing.assert_array_equal(decoded, np.dstack([MASK * np.uint8(255)] * 3))


def test_palettes_become_their_colors(tmp_path: Path) -> None:
    picture = Image.fromarray(GRAY % 3).convert("P")
    picture.putpalette([10, 20, 30, 200, 100, 50, 7, 8, 9])
    colors = np.array([[10, 20, 30], [200, 100, 50], [7, 8, 9]], np.uint8)
    np.testing.assert_array_equal(decode_image(save(tmp_path, picture)), colors[GRAY % 3])


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sixteen_bit_grey_keeps_the_eight_highest_bits_in_use(tmp_path: Path, bits: int, suffix: str) -> None:
    deep = GRAY.astype(np.uint16) << (bits - 8)
    decoded = decode_image(save(tmp_path, Image.fromarray(deep), suffix))
    np.testing.assert_array_equal(decoded, np.dstack([GRAY] * 3))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("alpha", [None, 4080, 65535])
def test_sixteen_bit_color_does_not_turn_black(tmp_path: Path, suffix: str, alpha: int | None) -> None:
    twelve_bits = cv2.cvtColor(RGB.astype(np.uint16) << 4, cv2.COLOR_RGB2BGR)
    if alpha is not None:  # opaque is 65535 whatever the camera's depth
        twelve_bits = np.dstack([twelve_bits, np.full_like(twelve_bits[..., 0], alpha)])
    path = tmp_path / f"deep.{suffix}"
    path.write_bytes(cv2.imencode(f".{suffix}", twelve_bits)[1].tobytes())
    np.testing.assert_array_equal(decode_image(path), RGB)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows of the file run from top to bottom, right to left
    decoded = decode_image(save(tmp_path, Image.fromarray(RGB), exif=exif))
    np.testing.assert_array_equal(decoded, np.rot90(RGB, -1))


@given(st_numpy.arrays(np.uint16, (3, 4), elements=st.integers(0, 65535)))
def test_depth_is_the_smallest_that_holds_the_brightest_value(pixels: np.ndarray) -> None:
    top = int(pixels.max())
    divisor = next(2 ** (bits - 8) for bits in (8, 10, 12, 14, 16) if top < 2**bits)
    np.testing.assert_array_equal(to_eight_bits(pixels), pixels // divisor)


def test_a_given_depth_treats_all_images_of_a_camera_alike() -> None:
    """Without it, 1000 is taken for the upper end of 10 bits and 1100 for the middle of 12."""
    pair = [np.array([1000], np.uint16), np.array([1100], np.uint16)]
    assert [to_eight_bits(pixels)[0] for pixels in pair] == [250, 68]
    assert [to_eight_bits(pixels, 12)[0] for pixels in pair] == [62, 68]
    assert to_eight_bits(np.array([200], np.uint8), 16).tolist() == [200]
    with pytest.raises(ValueError, match=r"1,100, and 10 bits end at 1,023"):
        to_eight_bits(pair[1], 10)


def test_an_image_deeper_than_its_camera_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, Image.fromarray(GRAY.astype(np.uint16) * 4))
    np.testing.assert_array_equal(decode_image(path, 12), np.dstack([GRAY // 4] * 3))
    with pytest.raises(InputError, match=r"picture\.png cannot be used: .* 1,004, and 8 bits .* raise bits"):
        decode_image(path, 8)


@pytest.mark.parametrize("decode", [decode_image, decode_mask])
def test_stacks_are_refused_and_pyramids_read(tmp_path: Path, decode: Callable[[Path], np.ndarray]) -> None:
    pages = [Image.fromarray(MASK * np.uint8(255)), Image.fromarray(MASK[::-1] * np.uint8(255))]
    path = save(tmp_path, pages[0], "tif", save_all=True, append_images=[pages[1]] * 2)
    with pytest.raises(InputError, match=r"picture\.tif is a stack of 3 pages") as refusal:
        decode(path)
    assert "cannot be read" not in str(refusal.value)
    expected = decode(save(tmp_path, pages[0], "png"))
    small = pages[0].resize((10, 6))
    np.testing.assert_array_equal(
        decode(save(tmp_path, pages[0], "tif", save_all=True, append_images=[small])), expected
    )


@pytest.mark.parametrize("decode", [decode_image, decode_mask])
def test_inverted_grey_is_turned_around_or_refused(tmp_path: Path, decode: Callable[[Path], np.ndarray]) -> None:
    inverted = {PHOTOMETRIC: WHITE_IS_ZERO}
    gray = MASK * np.uint8(251)
    eight_bits = save(tmp_path, Image.fromarray(gray), "tif", tiffinfo=inverted)
    assert (255 - gray).tobytes() in eight_bits.read_bytes()
    np.testing.assert_array_equal(decode(eight_bits), decode(save(tmp_path, Image.fromarray(gray))))
    path = save(tmp_path, Image.fromarray(GRAY.astype(np.uint16)), "tif", tiffinfo=inverted)
    with pytest.raises(InputError, match=r"picture\.tif stores white as 0"):
        decode(path)


def test_other_depths() -> None:
    assert to_eight_bits(np.array([-5, 0, 2**20 - 1], np.int32)).tolist() == [0, 0, 255]
    assert to_eight_bits(np.array([0.0, 0.5, 1.0, np.nan, -1.0], np.float32)).tolist() == [0, 128, 255, 0, 0]
    assert to_eight_bits(np.array([0.0, 1023.0, np.inf], np.float32)).tolist() == [0, 255, 0]


def mask_pictures() -> dict[str, Image.Image]:
    flipped_palette = Image.fromarray((~MASK).astype(np.uint8)).convert("P")
    flipped_palette.putpalette([255, 255, 255, 0, 0, 0])
    white = np.full(MASK.shape, 255, np.uint8)
    one_channel = np.dstack([np.zeros_like(white), MASK * np.uint8(3), np.zeros_like(white)])
    return {
        "255": Image.fromarray(MASK * np.uint8(255)),
        "1": Image.fromarray(MASK * np.uint8(1)),
        "one bit": Image.fromarray(MASK),
        "16 bit": Image.fromarray(MASK * np.uint16(256)),
        "16 bit, small": Image.fromarray(MASK * np.uint16(1)),
        "three channels": Image.fromarray(np.dstack([MASK * np.uint8(255)] * 3)),
        "one channel of three": Image.fromarray(one_channel),
        "opaque": Image.fromarray(np.dstack([MASK * np.uint8(255)] * 3 + [white])),
        "transparent": Image.fromarray(np.dstack([white] * 3 + [MASK * np.uint8(255)])),
        "gray with alpha": Image.fromarray(np.dstack([MASK * np.uint8(255), white])),
        "palette whose first color is white": flipped_palette,
    }


@pytest.mark.parametrize("kind", mask_pictures())
def test_masks_of_every_kind_are_the_same(tmp_path: Path, kind: str) -> None:
    mask = decode_mask(save(tmp_path, mask_pictures()[kind]))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, MASK)


def test_sixteen_bit_color_masks_keep_their_smallest_values(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(cv2.imencode(".png", np.dstack([MASK * np.uint16(1)] * 3))[1].tobytes())
    np.testing.assert_array_equal(decode_mask(path), MASK)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
@pytest.mark.parametrize("tolerant", [False, True])
def test_truncated_files_are_refused_by_name(
    tmp_path: Path, suffix: str, tolerant: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(noise), suffix)
    path.write_bytes(path.read_bytes()[:-2000])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)
    with pytest.raises(InputError, match=rf"picture\.{suffix} cannot be read as an image") as refusal:
        decode_image(path)
    assert len(refusal.value.problems) == 1
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("position", [0.3, 0.6, 0.9])
def test_one_flipped_bit_in_a_png_is_noticed(tmp_path: Path, position: float) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 64), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(noise))
    data = bytearray(path.read_bytes())
    data[int(len(data) * position)] ^= 4
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"picture\.png"):
        decode_mask(path)


@pytest.mark.parametrize(("content", "reason"), [(b"", "no known format"), (b"<html>404</html>", "no known format")])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        decode_image(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.png cannot be read \(No such file"):
        decode_image(tmp_path / "absent.png")
