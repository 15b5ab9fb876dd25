"""The command `convert`, from a composed configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from nucleiseg.cli.convert import convert
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.data.readers.geojson import GeoJsonReader
from nucleiseg.errors import InputError
from nucleiseg.writers.data_set_formats import DATA_SET_FORMATS, Layout

Composed = Callable[..., dict[str, Any]]


def test_data_is_recognized_converted_and_counted(
    composed: Composed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folders(DemoReader(images=2, size=48), tmp_path / "data")
    keys = [f"data.root={tmp_path / 'data'}", f"output={tmp_path / 'new'}", "data.mpp=0.5", "to=geojson"]
    assert convert(composed("convert", *keys)) == 0
    reader = GeoJsonReader(root=tmp_path / "new")
    nuclei = sum(len(reader.read(record)) for record in reader.records())
    printed = capsys.readouterr().err
    assert "Found one folder per image: 2 images" in printed
    assert f"2 images with {nuclei} nuclei: {tmp_path / 'new'}." in printed
    assert '"Area µm^2"' in (tmp_path / "new" / "demo_000.geojson").read_text(encoding="utf-8")


def test_images_that_cannot_be_read_are_counted_and_named(
    composed: Composed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folders(DemoReader(images=2, size=48), tmp_path / "data")
    (tmp_path / "data" / "demo_001" / "images" / "demo_001.png").write_bytes(b"broken")
    keys = ["data=folders", f"data.root={tmp_path / 'data'}", f"output={tmp_path / 'new'}"]
    assert convert(composed("convert", *keys)) == 1
    assert "1 image failed: demo_001." in capsys.readouterr().err
    assert (tmp_path / "new" / "images" / "demo_000.png").is_file()


def test_problems_of_all_keys_come_together(composed: Composed) -> None:
    with pytest.raises(InputError) as caught:
        convert({**composed("convert", "data.root=nowhere", "output=new", "+data.mp=1"), "to": "voc", "outptu": "x"})
    named = {problem.split()[0] for problem in caught.value.problems}
    assert named == {"to", "data.mp", "outptu"}


def test_the_accepted_layouts_are_those_that_exist() -> None:
    assert get_args(Layout) == tuple(DATA_SET_FORMATS)
