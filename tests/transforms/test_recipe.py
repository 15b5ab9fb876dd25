"""The recipe: detectron2's recorded mapper, the same fate for planes and masks, and randomness by seed alone."""

import json
import pickle
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from nucleiseg.structures import Sample
from nucleiseg.transforms.color import STAINS, saturate
from nucleiseg.transforms.recipe import Recipe, Resize

STRONG = Recipe(
    saturation=(0.5, 2.0),
    vflip=0.5,
    quarter_turns=True,
    scale_jitter=(0.5, 1.5),
    brightness=0.1,
    contrast=0.1,
    stain_jitter=0.2,
    resize=Resize(short=40, long=60),
)


def make_sample(height: int = 48, width: int = 64, planes: int = 1, nuclei: int = 9, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    layers = np.zeros((planes, height, width), np.uint16)
    layer_index = np.arange(nuclei) % planes
    for number, plane in enumerate(layer_index):
        top, left = rng.integers(0, height - 2), rng.integers(0, width - 2)
        window = layers[plane, top : top + rng.integers(2, 9), left : left + rng.integers(2, 9)]
        window[window == 0] = number + 1
    return Sample(
        name=f"sample{seed}",
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        layers=layers,
        layer_index=layer_index,
        labels=rng.integers(1, 3, nuclei),
    )


def fixed(**settings: object) -> Recipe:
    """A recipe whose geometry is decided: no crop, no size change for a short side of 48, no flips unless asked."""
    return Recipe(**({"crop": None, "resize": Resize(short=48, long=64), "hflip": 0.0} | settings))


def same(first: tuple, second: tuple) -> bool:
    return all(
        torch.equal(one, two)
        for one, two in [
            (first[0], second[0]),
            *((getattr(first[1], name), getattr(second[1], name)) for name in ("boxes", "labels", "layers", "values")),
        ]
    )


@pytest.mark.parametrize("flip", [0, 1])
def test_recorded_mapper(golden: Path, flip: int) -> None:
    """Crop x 37..133, y 21..101 of the recorded picture, resize to 122 x 146, flip: pixels, masks and boxes equal."""
    units = json.loads((golden / "units/units.json").read_text())
    arrays = np.load(golden / "units/units.npz")
    image = np.asarray(Image.open(golden / "units/synth.png").convert("RGB"))
    masks = [coco_mask.decode(rle) for rle in units["crop_masks_rle"]]
    layers = np.zeros((len(masks), *image.shape[:2]), np.uint16)  # one plane each: overlaps do not matter here
    for number, mask in enumerate(masks):
        layers[number][mask > 0] = number + 1
    sample = Sample(
        name="synth",
        image=image[21:101, 37:133],
        layers=layers[:, 21:101, 37:133],
        layer_index=np.arange(len(masks)),
        labels=np.ones(len(masks), np.int64),
    )
    tensor, target = Recipe(crop=None, resize=Resize(short=122, long=146), hflip=float(flip))(sample, 0)
    np.testing.assert_array_equal(tensor.permute(1, 2, 0).numpy(), arrays[f"map_image_f{flip}"])
    np.testing.assert_array_equal(target.boxes.numpy(), arrays[f"map_boxes_f{flip}"])
    expected = [coco_mask.decode(rle) for rle in units[f"map_masks_rle_f{flip}"]]
    assert len(target) == len(expected)
    for index, mask in enumerate(expected):
        np.testing.assert_array_equal(target.mask(index).numpy(), mask)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 5))
def test_a_layer_goes_where_each_of_its_masks_would_go(seed: int, planes: int) -> None:
    sample = make_sample(planes=planes, seed=seed % 7)
    _, target = STRONG(sample, seed)
    for index, value in enumerate(target.values.tolist()):
        mask = (sample.layers == value).any(axis=0)
        alone = Sample(
            name="alone",
            image=sample.image,
            layers=mask[None].astype(np.uint16),
            layer_index=np.zeros(1, np.int64),
            labels=np.ones(1, np.int64),
        )
        _, expected = STRONG(alone, seed)
        assert torch.equal(target.mask(index), expected.mask(0))
        assert torch.equal(target.boxes[index], expected.boxes[0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**40))
def test_boxes_are_tight_and_labels_follow_their_instance(seed: int) -> None:
    sample = make_sample(planes=2, nuclei=14)
    tensor, target = STRONG(sample, seed)
    assert tensor.dtype == torch.uint8
    assert tensor.shape[1:] == target.layers.shape[1:]
    for index, value in enumerate(target.values.tolist()):
        rows, columns = torch.nonzero(target.mask(index), as_tuple=True)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert target.boxes[index].tolist() == [int(edge) for edge in expected]
        assert target.labels[index] == sample.labels[value - 1]


@pytest.mark.parametrize(("key", "axis"), [("hflip", 2), ("vflip", 1)])
def test_flips_are_exact_involutions(key: str, axis: int) -> None:
    sample = make_sample(planes=2)
    tensor, target = fixed(**{key: 1.0})(sample, 3)
    assert torch.equal(tensor.flip(axis), torch.from_numpy(sample.image).permute(2, 0, 1))
    assert torch.equal(target.layers.flip(axis), torch.from_numpy(sample.layers.astype(np.int32)))
    back = Sample(
        name="back",
        image=tensor.permute(1, 2, 0).numpy(),
        layers=target.layers.numpy(),
        layer_index=sample.layer_index,
        labels=sample.labels,
    )
    assert same(fixed(**{key: 1.0})(back, 5), fixed()(sample, 9))


@pytest.mark.parametrize("crop", [None, (0.5, 0.75), (24, 20)])
def test_image_and_planes_are_cut_flipped_and_turned_alike(crop: tuple[float, float] | None) -> None:
    """The planes are the image's own red channel: they must show the same window in the same position."""
    values = np.arange(1, 16 * 16 * 9 + 1, dtype=np.uint16).reshape(48, 48) % 256
    image = np.stack([values.astype(np.uint8)] * 3, axis=2)
    labels = np.ones(256, np.int64)
    sample = Sample("alike", image, values[None], np.zeros(256, np.int64), labels)
    height, width = Recipe(crop=crop).crop_shape(48, 48)
    short, long = min(height, width), max(height, width)
    recipe = Recipe(crop=crop, resize=Resize(short=short, long=long), vflip=0.5, quarter_turns=True)
    shown = set()
    for seed in range(24):
        tensor, target = recipe(sample, seed)
        assert sorted(tensor.shape[1:]) == [short, long]
        assert torch.equal(tensor[0].int(), target.layers[0])
        shown.add(tensor.numpy().tobytes())
    assert len(shown) >= (8 if crop is None else 16)


def test_brightness_shifts_contrast_scales_and_stains_change_within_their_bounds() -> None:
    gray = np.full((48, 64, 3), 100, np.uint8)
    gray[:, 32:] = 160
    sample = replace(make_sample(nuclei=0), image=gray)

    def drawn(**jitter: float) -> np.ndarray:
        """The two halves' RGB for each of 60 seeds, (60, 2, 3)."""
        images = [fixed(**jitter)(sample, seed)[0].numpy().astype(float) for seed in range(60)]
        return np.array([[image[:, 20, 10], image[:, 20, 50]] for image in images])

    shifts = drawn(brightness=0.1) - [[[100], [160]]]
    np.testing.assert_allclose(shifts[:, 0], shifts[:, 1], atol=1)
    assert 20 < np.abs(shifts).max() <= 0.1 * 255 + 1
    assert shifts.min() < -15 < 15 < shifts.max()

    factors = drawn(contrast=0.1) / [[[100], [160]]]
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], atol=0.02)
    assert 0.9 - 0.01 <= factors.min() < 0.93
    assert 1.07 < factors.max() <= 1.1 + 0.01

    amounts = -np.log(drawn(stain_jitter=0.2) / 255) @ np.linalg.inv(STAINS)
    factors = amounts / (-np.log(gray[20, [10, 50]] / 255) @ np.linalg.inv(STAINS))
    assert np.abs(factors[:, :, 0] - 1).max() <= 0.2 + 0.1  # rounding to levels
    assert factors[:, :, 0].std() > 0.08


def test_quarter_turns_reach_all_four() -> None:
    sample = make_sample(height=48, width=48, planes=2)
    plain = torch.from_numpy(sample.image).permute(2, 0, 1)
    planes = torch.from_numpy(sample.layers.astype(np.int32))
    seen = set()
    for seed in range(40):
        tensor, target = fixed(quarter_turns=True)(sample, seed)
        turns = next(k for k in range(4) if torch.equal(tensor, torch.rot90(plain, k, (1, 2))))
        assert torch.equal(target.layers, torch.rot90(planes, turns, (1, 2)))
        seen.add(turns)
    assert seen == {0, 1, 2, 3}


def test_flips_are_independent_of_each_other() -> None:
    """On generators seeded alike, both flips would always go together."""
    sample = make_sample()
    plain = torch.from_numpy(sample.image).permute(2, 0, 1)
    variants = {"none": plain, "left-right": plain.flip(2), "top-bottom": plain.flip(1), "both": plain.flip(1, 2)}
    counts = dict.fromkeys(variants, 0)
    for seed in range(200):
        tensor, _ = fixed(hflip=0.5, vflip=0.5)(sample, seed)
        counts[next(name for name, variant in variants.items() if torch.equal(tensor, variant))] += 1
    assert min(counts.values()) > 25


def test_crop_position_and_factor_are_uncorrelated() -> None:
    gray = np.arange(200, dtype=np.uint8)
    image = np.stack([np.broadcast_to(gray, (16, 200))] * 3, axis=-1).copy()
    image[..., 0] += 20  # red stands off gray by the saturation factor
    sample = Sample(
        name="ramp",
        image=image,
        layers=np.zeros((1, 16, 200), np.uint16),
        layer_index=np.zeros(0, np.int64),
        labels=np.zeros(0, np.int64),
    )
    recipe = Recipe(crop=(16, 20), resize=Resize(short=16, long=20), saturation=(0.5, 2.0), hflip=0.0)
    drawn = []
    for seed in range(300):
        tensor, _ = recipe(sample, seed)
        red, green = tensor[0, 0, 0].item(), tensor[1, 0, 0].item()
        drawn.append((green, red - green))
    positions, factors = np.array(drawn, float).T
    assert positions.std() > 40
    assert factors.std() > 5
    assert abs(np.corrcoef(positions, factors)[0, 1]) < 0.2


def test_same_seed_same_result_in_any_order() -> None:
    sample = make_sample()
    forward = {seed: STRONG(sample, seed) for seed in range(8)}
    backward = {seed: STRONG(sample, seed) for seed in reversed(range(8))}
    assert all(same(forward[seed], backward[seed]) for seed in range(8))
    assert not same(forward[0], forward[1])
    copy = pickle.loads(pickle.dumps(STRONG))
    assert same(copy(sample, 3), forward[3])
    assert copy == STRONG
    assert forward[3][1].seed == 3


def test_same_seed_same_result_in_another_process(tmp_path: Path) -> None:
    sample = make_sample()
    (tmp_path / "work.pkl").write_bytes(pickle.dumps((STRONG, sample)))
    program = (
        "import pickle, sys; from pathlib import Path; folder = Path(sys.argv[1]);"
        "recipe, sample = pickle.loads((folder / 'work.pkl').read_bytes());"
        "image, target = recipe(sample, 12);"
        "(folder / 'result.pkl').write_bytes(pickle.dumps((image.numpy(), target.layers.numpy())))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    image, layers = pickle.loads((tmp_path / "result.pkl").read_bytes())
    expected, target = STRONG(sample, 12)
    np.testing.assert_array_equal(image, expected.numpy())
    np.testing.assert_array_equal(layers, target.layers.numpy())


def test_order_crop_resize_then_saturation() -> None:
    """Saturation after the resize: clipping and rounding do not commute with the bilinear filter."""
    sample = make_sample()
    plain, _ = Recipe(resize=Resize(short=30, long=60))(sample, 4)
    colored, _ = Recipe(resize=Resize(short=30, long=60), saturation=(3.0, 3.0))(sample, 4)
    crop = plain.permute(1, 2, 0).numpy()
    flips = [crop, crop[:, ::-1]]
    assert any(np.array_equal(saturate(flip.copy(), 3.0), colored.permute(1, 2, 0).numpy()) for flip in flips)


def test_scale_is_network_pixels_per_source_pixel() -> None:
    sample = make_sample(height=100, width=100)
    recipe = Recipe()
    assert recipe.nominal_scale(1000, 1000) == pytest.approx(1.216)
    assert recipe.nominal_scale(1000, 2000) == pytest.approx(0.8)
    assert recipe.crop_shape(1000, 2000) == (500, 1000)
    assert recipe(sample, 1)[1].scale == pytest.approx(recipe.nominal_scale(100, 100))
    jittered = Recipe(scale_jitter=(0.5, 0.5))(sample, 1)[1]
    assert jittered.scale == pytest.approx(608 / 25)
    assert jittered.layers.shape == (1, 608, 608)


def test_scale_jitter_spreads_the_scale_within_its_range() -> None:
    sample = make_sample(height=100, width=100)
    recipe = Recipe(scale_jitter=(0.5, 1.5), resize=Resize(short=50, long=60))
    scales = np.array([recipe(sample, seed)[1].scale for seed in range(60)])
    assert scales.min() >= 50 / 75
    assert scales.max() <= 50 / 25
    assert scales.std() > 0.2


def test_image_smaller_than_the_crop_is_taken_whole() -> None:
    sample = make_sample(height=20, width=30)
    tensor, target = Recipe(crop=(64, 64), resize=Resize(short=40, long=100), hflip=0.0)(sample, 0)
    assert tensor.shape == (3, 40, 60)
    assert len(target) == len(np.unique(sample.layers)) - 1


def test_sample_without_nuclei_and_crop_without_nuclei() -> None:
    empty = make_sample(nuclei=0)
    assert len(STRONG(empty, 0)[1]) == 0
    sample = make_sample(nuclei=1)
    counts = {len(Recipe(crop=(16, 16), resize=Resize(short=8, long=8))(sample, seed)[1]) for seed in range(30)}
    assert counts == {0, 1}


def test_min_area_counts_network_pixels() -> None:
    sample = make_sample(nuclei=1)
    area = int((sample.layers > 0).sum())
    assert len(fixed(min_area=area)(sample, 0)[1]) == 1
    assert len(fixed(min_area=area + 1)(sample, 0)[1]) == 0


def test_memory_mapped_read_only_sample(tmp_path: Path) -> None:
    sample = make_sample(planes=3)
    np.save(tmp_path / "image.npy", sample.image)
    np.save(tmp_path / "layers.npy", sample.layers)
    mapped = Sample(
        name=sample.name,
        image=np.load(tmp_path / "image.npy", mmap_mode="r"),
        layers=np.load(tmp_path / "layers.npy", mmap_mode="r"),
        layer_index=sample.layer_index,
        labels=sample.labels,
    )
    for transform in (STRONG, fixed()):
        image, target = transform(mapped, 5)
        assert same((image, target), transform(sample, 5))
        image.add_(1)  # memory of their own: writing neither fails nor reaches the file
        target.layers.add_(1)


def test_32_bit_planes_give_the_same_target() -> None:
    sample = make_sample(planes=5)
    wide = Sample(
        name=sample.name,
        image=sample.image,
        layers=sample.layers.astype(np.int32),
        layer_index=sample.layer_index,
        labels=sample.labels,
    )
    assert all(same(STRONG(sample, seed), STRONG(wide, seed)) for seed in range(10))


def test_only_the_crop_is_copied() -> None:
    sample = make_sample(height=2000, width=2000)
    recipe = Recipe(crop=(32, 32), resize=Resize(short=32, long=32))
    recipe(sample, 0)
    tracemalloc.start()
    recipe(sample, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < sample.image.nbytes / 20
