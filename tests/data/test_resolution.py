"""Micrometers per pixel in the forms in which TIFF files state them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucleiseg.data.readers.resolution import read_mpp

PIXELS = np.zeros((16, 16), np.uint8)


@pytest.mark.parametrize(
    ("name", "options", "mpp"),
    [
        ("ome.ome.tif", {"metadata": {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}}, 0.25),
        ("nanometers.ome.tif", {"metadata": {"axes": "YX", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}}, 0.25),
        ("imagej.tif", {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}, 0.5),
        ("micron.tif", {"imagej": True, "resolution": (4, 4), "metadata": {"unit": "micron"}}, 0.25),
        ("centimeter.tif", {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}, 0.5),
        ("inch.tif", {"resolution": (50_800, 50_800), "resolutionunit": "INCH"}, 0.5),
        ("aperio.tif", {"description": "Aperio Image Library v11|AppMag = 40|MPP = 0.2520", "metadata": None}, 0.252),
        ("screen.tif", {"resolution": (96, 96), "resolutionunit": "INCH"}, None),
        ("none.tif", {"resolution": (1, 1), "resolutionunit": "NONE"}, None),
    ],
)
def test_what_a_file_states(name: str, options: dict[str, Any], mpp: float | None, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / name, PIXELS, **options)
    assert read_mpp(tmp_path / name) == (None if mpp is None else pytest.approx(mpp))


def test_other_and_damaged_files_state_nothing(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png", dpi=(50_800, 50_800))
    (tmp_path / "b.tif").write_bytes(b"II*\0 damaged")
    assert [read_mpp(tmp_path / name) for name in ("a.png", "b.tif", "missing.tif")] == [None] * 3
