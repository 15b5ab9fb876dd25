"""The figures of a data set, from plain configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nucleiseg.doors.previewing import preview


def test_preview_checks_and_draws(
    composed: Callable[..., dict[str, Any]], tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [key for key in tiny if not key.startswith("trainer")]
    preview(composed("preview", *overrides, f"output={tmp_path}", "crops=2"))
    assert "4 images with" in capsys.readouterr().err
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"images.png", "augmented_crops.png", "nuclei_per_image.png"}
    for path in tmp_path.iterdir():
        with Image.open(path) as figure:
            assert min(figure.size) > 300
