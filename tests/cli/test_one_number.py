"""One checkpoint, one number: training's validation, `evaluate.py` and `leaderboard.py` agree to the bit."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from nucleiseg.cli import train as training
from nucleiseg.cli.evaluate import evaluate
from nucleiseg.cli.leaderboard import leaderboard
from nucleiseg.cli.predict import predict
from nucleiseg.data.layers import pack
from nucleiseg.data.readers import READERS
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.images import decode_image
from nucleiseg.settings import settings
from nucleiseg.structures import Sample

Composed = Callable[..., dict[str, Any]]

SIDES = {"a": 64, "b": 96, "c": 160, "d": 64, "e": 160, "f": 112}
RADIUS = {1: 6, 2: 10}


def discs(name: str, side: int) -> tuple[np.ndarray, list[np.ndarray], list[int]]:
    """Draw a 12-bit grey image in 16 bits, whose nuclei are small and bright or large and dim."""
    rng = np.random.default_rng(ord(name))
    rows, columns = np.mgrid[:side, :side]
    image = rng.integers(100, 140, (side, side)).astype(np.uint16)
    masks, labels = [], []
    for top in range(14, side - 12, 26):
        for left in range(14, side - 12, 26):
            label = 1 + (top + left) // 26 % 2
            mask = (rows - top) ** 2 + (columns - left) ** 2 <= RADIUS[label] ** 2
            image[mask] += 2000 if label == 1 else 700
            masks.append(mask)
            labels.append(label)
    return image, masks, labels


@settings
class TwoClasses(Reader):
    """Images of several sizes with nuclei of two classes, read from files as `folders` does."""

    root: str
    bits: int | None = None

    synthetic: ClassVar[bool] = True

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("small", "large")

    def records(self) -> list[Record]:
        return [Record(path.stem, path) for path in sorted(Path(self.root).glob("*.png"))]

    def read(self, record: Record) -> Sample:
        assert record.image is not None
        _, masks, labels = discs(record.name, SIDES[record.name])
        image = decode_image(record.image, self.bits)
        layers, index = pack(masks, image.shape[:2])
        return Sample(record.name, image, layers, index, np.array(labels))

    def key(self, record: Record) -> str:
        return f"{self.bits}{ord(record.name):04x}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, side in SIDES.items():
        Image.fromarray(discs(name, side)[0]).save(folder / f"{name}.png")
    return folder


DATA = ["data.val=[d,e,f]", "data.cache_dir=none"]
MODEL = [
    "model.weights=null",
    "model.fpn_channels=64",
    "model.roi.fc_dim=128",
    "model.roi.batch_size=64",
    "model.mask.convs=2",
]
TRAINING = ["aug.crop=[0.5,0.5]", "trainer.max_steps=60", "checkpoint.every=60", "optim=adamw", "optim.lr=1e-3"]
"""Long enough to find some nuclei; their number is not the point."""


@pytest.fixture
def run(images: Path, composed: Composed, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short training on images of several sizes, of a 12-bit camera, with two classes."""
    monkeypatch.setitem(READERS, "two_classes", TwoClasses)
    keys = [key for key in tiny if not key.startswith(("data.", "aug.crop", "model."))]
    config = composed("train", *keys, *TRAINING, *MODEL, "data=folders", f"data.root={images}", *DATA, "data.bits=12")
    config["data"]["reader"] = "two_classes"
    folder = tmp_path / "run"
    folder.mkdir()
    training.train(config, folder)
    return folder


@pytest.mark.slow
def test_validation_evaluate_and_leaderboard_agree_to_the_bit(
    run: Path, images: Path, composed: Composed, tmp_path: Path
) -> None:
    with (run / "index.csv").open() as handle:
        (row,) = csv.DictReader(handle)
    in_training = float(row["val/ap50"]), float(row["val/ap50_100"])
    assert in_training[0] > 0.1, "a network that finds nothing agrees with everything"

    # data.bits is left out: the checkpoint knows it
    keys = composed("evaluate", f"checkpoint={run}", "data=folders", f"data.root={images}", *DATA)
    keys["data"]["reader"] = "two_classes"
    evaluate(**keys | {"output": str(tmp_path / "metrics.json")})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (metrics["ap50"], metrics["ap50_100"]) == in_training
    assert metrics["per_class"].keys() == {"small", "large"}

    leaderboard(runs=str(run), output=str(tmp_path / "board"), cache_dir=str(tmp_path / "cache"))
    with (tmp_path / "board" / "leaderboard.csv").open() as handle:
        (ranked,) = csv.DictReader(handle)
    assert (float(ranked["ap50"]), float(ranked["ap50_100"])) == in_training

    predict(checkpoint=run, input=images, output=tmp_path / "out", overlays=False)
    answer = json.loads((tmp_path / "out" / "answer.json").read_text())
    found = [result for result in answer if result["image_id"] in (4, 5, 6)]
    assert len(found) == metrics["results"], "predict.py finds what evaluate.py scores"
