"""Drawn tissue: reproducible, exact masks, nuclei of all kinds, touching and overlapping, in the stains' colors."""

import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from nucleiseg.data.layers import unpack
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.data.synthetic.nucleus import FIBROBLAST, LYMPHOCYTE, fill
from nucleiseg.data.synthetic.rendering import SyntheticImage, render
from nucleiseg.data.synthetic.tissue import EOSIN, HEMATOXYLIN, WHITE, color, noise
from nucleiseg.errors import InputError


@pytest.fixture(scope="module")
def rendered_images() -> list[SyntheticImage]:
    reader = DemoReader()
    return [reader.render(index) for index in range(12)]


def test_another_process_renders_the_same() -> None:
    code = (
        "import zlib; from nucleiseg.data.synthetic.rendering import render;"
        "print(zlib.crc32(render(4, 2, 64, 80, 9).image))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(found) == zlib.crc32(render(4, 2, 64, 80, 9).image)


def test_seeds_and_indices_render_different_images() -> None:
    images = [render(seed, index, 48, 48, 3).image for seed in (0, 1) for index in (0, 1)]
    assert len({image.tobytes() for image in images}) == 4


def test_masks_lie_in_the_image_and_are_connected(rendered_images: list[SyntheticImage]) -> None:
    for rendered in rendered_images[:4]:
        for mask in rendered.masks():
            assert mask.shape == rendered.image.shape[:2] == (256, 256)
            assert mask.dtype == bool
            assert mask.sum() >= 6
            assert cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] == 2


def test_density_varies_five_fold_and_nuclei_touch_and_overlap(rendered_images: list[SyntheticImage]) -> None:
    counts = [len(rendered.nuclei) for rendered in rendered_images]
    assert max(counts) >= 4 * min(counts)
    depth = [np.sum([mask.astype(int) for mask in rendered.masks()], axis=0) for rendered in rendered_images]
    overlapping = [plane.max() > 1 for plane in depth]
    assert sum(overlapping) >= 6
    for rendered, plane in zip(rendered_images, depth, strict=True):
        shared = (plane > 1).sum() / (plane > 0).sum()
        assert shared < 0.12
        blobs = cv2.connectedComponents((plane > 0).astype(np.uint8))[0] - 1
        assert blobs < len(rendered.nuclei)


def test_nuclei_are_of_several_kinds_sizes_and_darkness(rendered_images: list[SyntheticImage]) -> None:
    nuclei = [nucleus for rendered in rendered_images for nucleus in rendered.nuclei]
    kinds = [nucleus.kind for nucleus in nuclei]
    assert min(kinds.count(kind) for kind in set(kinds)) > 0.05 * len(kinds)
    areas = np.array([nucleus.mask.sum() for nucleus in nuclei])
    assert np.percentile(areas, 95) > 3 * np.percentile(areas, 5)
    dark = {
        kind: np.mean(
            [
                rendered.image[mask].mean()
                for rendered in rendered_images
                for nucleus, mask in zip(rendered.nuclei, rendered.masks(), strict=True)
                if nucleus.kind is kind
            ]
        )
        for kind in (LYMPHOCYTE, FIBROBLAST)
    }
    assert dark[LYMPHOCYTE] < dark[FIBROBLAST] - 10


def test_the_colors_are_those_of_the_stains(rendered_images: list[SyntheticImage]) -> None:
    """Nuclei are darker than their surroundings and bluer; tissue is pink: red over blue over green."""
    for rendered in rendered_images:
        covered = np.any(list(rendered.masks()), axis=0)
        image = rendered.image.astype(float)
        inside, outside = image[covered].mean(axis=0), image[~covered].mean(axis=0)
        assert inside.mean() < outside.mean() - 40
        assert inside[2] > inside[0]
        assert outside[0] > outside[2] > outside[1]


def test_light_through_two_stains_is_the_product_of_light_through_each() -> None:
    hematoxylin, eosin = np.random.default_rng(0).uniform(0, 2, (2, 3, 4)).astype(np.float32)
    none = np.zeros_like(eosin)
    product = color(hematoxylin, none) * color(none, eosin) / WHITE
    np.testing.assert_allclose(color(hematoxylin, eosin), product, rtol=1e-5)
    np.testing.assert_allclose(-np.log(color(np.ones((1, 1)), np.zeros((1, 1))) / WHITE)[0, 0], HEMATOXYLIN, atol=1e-5)
    assert EOSIN[1] > EOSIN[2] > EOSIN[0]  # eosin takes green and lets red pass


def test_noise_is_centred_of_unit_spread_and_as_smooth_as_asked() -> None:
    fine, coarse = (noise(np.random.default_rng(1), 256, 200, wavelength) for wavelength in (3, 12))
    for plane in (fine, coarse):
        assert plane.shape == (256, 200)
        assert abs(plane.mean()) < 0.3
        assert plane.std() == pytest.approx(1, abs=0.25)
    assert np.abs(np.diff(fine)).mean() > 2.5 * np.abs(np.diff(coarse)).mean()


@pytest.mark.parametrize("offset", [0.0, 0.3])
def test_fill_agrees_with_asking_each_pixel(offset: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outline = np.stack([14 + offset + 9 * np.cos(angle), 2 + 6 * np.sin(angle)], axis=1)
    row, column, window = fill(outline, 20, 20)
    assert row == 0  # cut by the frame
    painted = np.zeros((20, 20), dtype=bool)
    painted[row : row + window.shape[0], column : column + window.shape[1]] = window
    contour = outline.astype(np.float32)[:, None]
    distance = np.array(
        [[cv2.pointPolygonTest(contour, (float(x), float(y)), True) for x in range(20)] for y in range(20)]
    )
    assert painted[distance > 0.1].all()
    assert not painted[distance < -1].any()  # OpenCV also fills the pixels that the outline runs through


def test_the_reader_names_renders_and_keys() -> None:
    reader = DemoReader(images=3, size=64)
    records = reader.records()
    assert [record.name for record in records] == ["demo_000", "demo_001", "demo_002"]
    assert reader.synthetic
    sample = reader.read(records[1])
    assert sample.image.shape == (64, 64, 3)
    assert sample.name == "demo_001"
    assert reader.class_names == ("nucleus",)
    assert set(sample.labels) == {1}
    masks = list(unpack(sample.layers, sample.layer_index))
    for mask, rendered in zip(masks, reader.render(1).masks(), strict=True):
        np.testing.assert_array_equal(mask, rendered)
    others = [DemoReader(images=3, size=size, seed=seed) for size, seed in ((64, 0), (64, 1), (48, 0))]
    keys = {other.key(record) for other in others for record in records}
    assert len(keys) == 9


def test_a_larger_set_contains_the_smaller() -> None:
    small, large = DemoReader(images=2, size=48), DemoReader(images=9, size=48)
    assert small.key(small.records()[1]) == large.key(large.records()[1])


def test_numbers_out_of_range_are_reported_together() -> None:
    with pytest.raises(InputError, match="images is 0; it accepts a whole number from 1") as error:
        DemoReader(images=0, size=8)
    assert len(error.value.problems) == 2


def test_folders_written_are_read_back(tmp_path: Path) -> None:
    demo = DemoReader(images=2, size=64)
    write_folders(demo, tmp_path)
    folders = FoldersReader(root=tmp_path)
    assert [record.name for record in folders.records()] == ["demo_000", "demo_001"]
    for written, record in zip(demo.records(), folders.records(), strict=True):
        expected, found = demo.read(written), folders.read(record)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.layers, expected.layers)
        np.testing.assert_array_equal(found.layer_index, expected.layer_index)
