"""Every registered format writes what its line says, into a folder that is replaced as a whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from predicted_images import SIDE, predicted_image

from nucleiseg.errors import InputError
from nucleiseg.writers.base import FinishedImage
from nucleiseg.writers.registry import DEFAULT_FORMATS, FORMATS, make_writers


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_writes_the_files_that_it_names(name: str, tmp_path: Path) -> None:
    if name == "zarr":
        pytest.importorskip("zarr", reason="the extra zarr is not installed")
    (writer,) = make_writers([name, name]).values()
    image, layout = predicted_image([np.eye(SIDE, dtype=bool)]), FORMATS[name]
    path = tmp_path / "images" / f"a{layout.suffix}"
    record = writer.write_image(path, image)
    assert (path.is_dir() if layout.is_store else path.is_file()) == (layout.folder is not None)
    with writer.assembly(tmp_path) as add:
        add(FinishedImage(image.source, SIDE, SIDE, record))
    assert {item.name for item in tmp_path.iterdir() if item.is_file()} == set(layout.files)
    assert writer.__doc__


def test_no_two_formats_have_one_name() -> None:
    places = [(item.folder, item.suffix) for item in FORMATS.values() if item.folder]
    files = [name for item in FORMATS.values() for name in item.files]
    assert len(set(places)) == len(places)
    assert len(set(files)) == len(files)
    assert set(DEFAULT_FORMATS) <= FORMATS.keys()


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(InputError, match="write has 'svg'; it accepts a list of coco, overlays, geojson"):
        make_writers(["coco", "svg"])


def test_names_of_files_are_known_without_loading_the_writers() -> None:
    code = "import sys, nucleiseg.writers.result_set; assert not {'torch', 'cv2', 'tifffile'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
