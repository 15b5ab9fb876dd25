"""The figures of a data set, from plain configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nucleiseg.cli.preview import preview
from nucleiseg.errors import InputError


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


def test_an_output_that_is_a_file_is_refused_first(composed: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "figures").write_text("a file")
    config = composed("preview", "data=folders", "data.root=nowhere", f"output={tmp_path / 'figures'}")
    with pytest.raises(InputError, match="figures is a file; give a folder"):
        preview(config)


@pytest.mark.parametrize("jitter", ["null", "[0.7,1.3]"])
def test_a_least_area_above_every_nucleus_is_refused(
    jitter: str, composed: Callable[..., dict[str, Any]], tiny: list[str], tmp_path: Path
) -> None:
    overrides = [key for key in tiny if not key.startswith("trainer")]
    overrides += [f"output={tmp_path}", "crops=1", f"aug.scale_jitter={jitter}"]
    with pytest.raises(InputError, match=r"aug.min_area=4000 hides every nucleus of 4 images: the largest, in demo_"):
        preview(composed("preview", *overrides, "aug.min_area=4000"))
    preview(composed("preview", *overrides, "aug.min_area=20"))
