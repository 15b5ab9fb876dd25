"""The weights that are installed with the package."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from scipy.ndimage import gaussian_filter

from nucleiseg.errors import InputError
from nucleiseg.inference.predictor import Predictor
from nucleiseg.models import checkpoint
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.models.pretrained import resolve_weights
from nucleiseg.run_tables import find_checkpoint
from nucleiseg.shipped_weights import SHIPPED_WEIGHTS

ROOT = Path(__file__).parents[1]
NUCLEI = SHIPPED_WEIGHTS["nuclei"]


def config(name: str = "nuclei_fpn") -> ModelConfig:
    with initialize_config_dir(str(ROOT / "conf" / "model"), version_base="1.3"):
        values = OmegaConf.to_container(compose(name), resolve=True)
    return ModelConfig.from_dict({**dict(values), "weights": "nuclei"})  # type: ignore[arg-type]


def fluorescence(rng: np.random.Generator, side: int = 256) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a (side, side, 3) uint8 image of smooth bright ellipses on a dark, noisy background, and their masks."""
    y, x = np.mgrid[:side, :side]
    image, masks = np.zeros((side, side)), []
    for row in range(24, side - 20, 44):
        for column in range(24, side - 20, 44):
            (dy, dx), (a, b), turn = rng.integers(-4, 5, 2), rng.uniform(8, 13, 2), rng.uniform(0, np.pi)
            u = (x - column - dx) * np.cos(turn) + (y - row - dy) * np.sin(turn)
            v = (y - row - dy) * np.cos(turn) - (x - column - dx) * np.sin(turn)
            masks.append((u / a) ** 2 + (v / b) ** 2 <= 1)
            image[masks[-1]] = rng.uniform(60, 120)
    image = gaussian_filter(image, 1.0) + 6 + rng.normal(0, 2, image.shape)
    return np.repeat(image.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2), masks


def test_the_file_is_small_and_in_half_precision() -> None:
    assert NUCLEI.stat().st_size <= 20e6
    stored = torch.load(NUCLEI, weights_only=True)["state_dict"]
    assert {value.dtype for value in stored.values()} == {torch.float16}
    weights, metadata = checkpoint.read(NUCLEI)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert metadata.preprocessing is not None
    assert metadata.weights == "random"


def test_it_finds_the_nuclei_of_a_synthetic_fluorescence_image() -> None:
    image, masks = fluorescence(np.random.default_rng(0))
    prediction = Predictor.from_checkpoint(find_checkpoint(Path("nuclei"))).predict(image)
    x1, y1, x2, y2 = prediction.boxes[prediction.scores >= 0.5].numpy().T
    found = 0
    for mask in masks:
        rows, columns = np.nonzero(mask)
        overlap = (np.minimum(x2, columns.max() + 1) - np.maximum(x1, columns.min())).clip(min=0)
        overlap *= (np.minimum(y2, rows.max() + 1) - np.maximum(y1, rows.min())).clip(min=0)
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        found += bool((overlap / ((x2 - x1) * (y2 - y1) + box - overlap) > 0.5).any())
    assert found >= 0.9 * len(masks)
    assert len(x1) <= 1.2 * len(masks)


def test_a_file_or_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(Path("nuclei")) == NUCLEI
    assert find_checkpoint(Path("nuclei.ckpt")) == Path("nuclei.ckpt")
    Path("nuclei").write_bytes(b"")
    assert find_checkpoint(Path("nuclei")) == Path("nuclei")


def test_training_starts_from_it_by_name() -> None:
    start = resolve_weights(config())
    assert start.config.weights == "nuclei"
    assert start.config.norm == "gn"
    assert start.words.startswith("nuclei (sha256 ")
    assert f"{os.sep}weights" not in start.words
    network = build(start.config, 1)
    assert not start.load(network).reinitialized
    weights = checkpoint.read(NUCLEI)[0]
    assert all(value.equal(weights[name]) for name, value in network.state_dict().items())


def test_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="weights=nuclei was trained with backbone=resnet18_narrow, but"):
        resolve_weights(config("r18_fpn"))


def test_the_model_is_that_of_the_file() -> None:
    stored, ours = checkpoint.read(NUCLEI)[1].model, config().to_dict()
    for key in ("family", "backbone", "norm", "fpn_channels", "anchors", "roi", "mask"):
        assert stored[key] == ours[key], key
