"""Color operations as identities, and against the formulas written out in float64."""

import numpy as np
import pytest

from nucleiseg.transforms.color import LUMA, STAINS, saturate, scale_stains


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.9, 2.0, 7.3, 10.0])
def test_saturate_is_its_formula(image: np.ndarray, factor: float) -> None:
    values = image.astype(np.float64)
    gray = (values @ LUMA)[..., None]
    expected = np.clip(gray + factor * (values - gray), 0, 255)
    assert np.abs(saturate(image, factor) - expected).max() <= 0.501  # half a level of rounding


def test_saturate_by_one_changes_nothing_and_by_zero_is_grey(image: np.ndarray) -> None:
    np.testing.assert_array_equal(saturate(image, 1.0), image)
    gray = saturate(image, 0.0)
    assert (gray[..., 0] == gray[..., 1]).all()
    assert (gray[..., 1] == gray[..., 2]).all()


def test_saturate_leaves_grey_pixels_alone() -> None:
    gray = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_array_equal(saturate(gray, 8.0), gray)


def test_saturate_reads_red_first() -> None:
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 0] = 200
    assert saturate(red, 0.0).ravel().tolist() == [60, 60, 60]  # 0.299 * 200


def test_stain_vectors_have_unit_length() -> None:
    np.testing.assert_allclose(np.linalg.norm(STAINS, axis=1), 1.0, atol=2e-3)


def test_neutral_stain_factors_change_nothing_but_the_darkest_level(image: np.ndarray) -> None:
    np.testing.assert_array_equal(scale_stains(image, np.ones(3)), np.maximum(image, 1))


def test_white_stays_white_whatever_the_stains() -> None:
    white = np.full((2, 2, 3), 255, np.uint8)
    np.testing.assert_array_equal(scale_stains(white, np.array([0.2, 3.0, 1.7])), white)


@pytest.mark.parametrize("stain", [0, 1])
def test_doubling_one_stain_squares_its_transmittance_and_leaves_the_other(stain: int) -> None:
    amounts = np.array([0.6, 0.5, 0.0])
    pixel = np.rint(255 * np.exp(-amounts @ STAINS)).astype(np.uint8)[None, None]
    factors = np.ones(3)
    factors[stain] = 2.0
    expected = 255 * np.exp(-(amounts * factors) @ STAINS)
    assert np.abs(scale_stains(pixel, factors)[0, 0] - expected).max() < 3
