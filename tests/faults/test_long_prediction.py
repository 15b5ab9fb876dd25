"""Three hundred images: memory and open files stay as after the first hundred."""

import gc
import os
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_prediction_killed import REQUEST, origin_of
from tiny import narrow_mask_rcnn

from nucleiseg.inference.images import find_images
from nucleiseg.inference.predictor import Predictor, PreparedImage
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.models.checkpoint import Metadata, save
from nucleiseg.structures import Prediction
from nucleiseg.writers.prediction_folder import predict_to_folder

EARLY, IMAGES, SIDE = 100, 300, 384


def resident_bytes() -> int:
    """Return the memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_and_file_handles_stay_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holding on to the pixels of each image alone would take twice what is allowed here."""
    (tmp_path / "in").mkdir()
    chance = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = np.full((SIDE, SIDE, 3), chance.integers(100, 200), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number}.png", compress_level=1)
    network = narrow_mask_rcnn()
    save(tmp_path / "narrow.ckpt", network, Metadata(model=network.config.to_dict(), scale=1.0))
    settings = PredictionSettings(device="cpu", scale=64 / SIDE, score_threshold=0.0, detections=5)
    measured: dict[int, tuple[int, int]] = {}
    predict_one, numbers = Predictor.run, count(1)

    def measure(predictor: Predictor, image: PreparedImage) -> Prediction:
        if (number := next(numbers)) in (EARLY, IMAGES):
            gc.collect()
            measured[number] = resident_bytes(), len(list(Path("/proc/self/fd").iterdir()))
        return predict_one(predictor, image)

    monkeypatch.setattr(Predictor, "run", measure)
    predictor = Predictor.from_checkpoint(tmp_path / "narrow.ckpt", settings)
    summary = predict_to_folder(
        predictor, find_images(tmp_path / "in"), tmp_path / "out", request=REQUEST, origin=origin_of
    )
    assert summary.done == IMAGES
    (memory, handles), (memory_later, handles_later) = measured[EARLY], measured[IMAGES]
    assert memory_later - memory < (IMAGES - EARLY) * SIDE * SIDE * 3 / 2
    assert handles_later <= handles + 8, "the threads that read and write hold a few at any time"
