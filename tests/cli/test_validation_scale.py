"""Validation in images of different sizes: each at the scale at which training shows it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nucleiseg.cli import train as training


def test_validation_images_have_their_own_training_scale(
    composed: Callable[..., dict[str, Any]], tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, side in (("a", 64), ("b", 64), ("c", 128), ("d", 128)):
        mask = np.zeros((side, side), np.uint8)
        mask[8:24, 8:24] = 255
        for folder in ("images", "masks"):
            (tmp_path / name / folder).mkdir(parents=True)
            Image.fromarray(mask).save(tmp_path / name / folder / f"{name}.png")
    seen = {}

    def look(network: object, metadata: object, datamodule: Any, *_: object, **__: object) -> None:  # noqa: ANN401
        seen.update({target.name: target.scale for _, (target,) in datamodule.predict_dataloader()})

    monkeypatch.setattr(training.run, "train", look)
    keys = [key for key in tiny if not key.startswith(("data.images", "data.size", "aug.crop", "data.val"))]
    config = composed("train", *keys, "data=folders", f"data.root={tmp_path}", "data.val=[a,c]", "aug.crop=[0.5,0.5]")
    (tmp_path / "run").mkdir()
    training.train(config, tmp_path / "run")
    assert seen == pytest.approx({"a": 2.0, "b": 2.0, "c": 1.0, "d": 1.0})
