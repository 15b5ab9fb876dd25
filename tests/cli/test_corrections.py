"""The command `corrections`: from files as predicted and as edited to counts and a page."""

import csv
import json
from pathlib import Path

import pytest

from nucleiseg.cli.corrections import corrections
from nucleiseg.data.readers.demo import DemoReader
from nucleiseg.errors import InputError
from nucleiseg.writers.conversion import convert_data_set


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    """Three images, each with its GeoJSON file."""
    convert_data_set(DemoReader(images=3, size=96), tmp_path / "predicted", "geojson")
    return tmp_path / "predicted"


def edit(predicted: Path, edited: Path, name: str) -> int:
    """Delete the first object, move the second by a pixel, and add one; return how many were there."""
    edited.mkdir(exist_ok=True)
    document = json.loads((predicted / f"{name}.geojson").read_text(encoding="utf-8"))
    features = document["features"]
    count = len(features)
    new = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]]}
    moved = [[[x, y + 1] for x, y in ring] for ring in features[1]["geometry"]["coordinates"]]
    features[1]["geometry"]["coordinates"] = moved
    document["features"] = [*features[1:], {"type": "Feature", "geometry": new, "properties": {}}]
    (edited / f"{name}.geojson").write_text(json.dumps(document), encoding="utf-8")
    return count


def test_edits_are_counted_and_rendered(predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = edit(predicted, tmp_path / "edited", "demo_000")
    (tmp_path / "edited" / "demo_001.geojson").write_bytes((predicted / "demo_001.geojson").read_bytes())
    keys = {"predictions": predicted, "edited": tmp_path / "edited", "input": predicted, "output": tmp_path / "out"}
    assert corrections(**{key: str(value) for key, value in keys.items()}) == 0
    with (tmp_path / "out" / "corrections.csv").open() as handle:
        first, second = csv.DictReader(handle)
    assert first == {
        **{"image": "demo_000", "accepted": str(count - 2), "redrawn": "1", "reclassified": "0"},
        **{"deleted": "1", "added": "1"},
    }
    assert {second[key] for key in ("redrawn", "reclassified", "deleted", "added")} == {"0"}
    page = (tmp_path / "out" / "corrections.html").read_text(encoding="utf-8")
    assert page.count('<path class="deleted" d="M') == 2, "one nucleus, and the key"
    assert page.count('<path class="before" d="M') == 2
    assert page.count("data:image/jpeg;base64,") == 2
    printed = capsys.readouterr().err
    assert "2 images: " in printed
    assert "1 redrawn, 0 reclassified, 1 deleted, 1 added" in printed
    assert "Left out 1 image without both files: demo_002." in printed


def test_a_damaged_file_is_named_and_the_others_are_compared(
    predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(predicted, tmp_path / "edited", "demo_000")
    (tmp_path / "edited" / "demo_001.geojson").write_text("{")
    keys = {"predictions": predicted, "edited": tmp_path / "edited", "input": predicted, "output": tmp_path / "out"}
    assert corrections(**{key: str(value) for key, value in keys.items()}) == 1
    printed = capsys.readouterr().err
    assert "1 image: " in printed
    assert "demo_001.geojson" in printed


def test_files_that_do_not_belong_together_are_refused(predicted: Path, tmp_path: Path) -> None:
    keys = {"predictions": str(predicted), "input": str(predicted), "output": str(tmp_path / "out")}
    with pytest.raises(InputError, match="has both GeoJSON files"):
        corrections(**keys, edited=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is one file, but input has 3 images"):
        corrections(**keys, edited=str(predicted / "demo_000.geojson"))
    with pytest.raises(InputError, match="edited is missing"):
        corrections(**keys)
    assert not (tmp_path / "out").exists()


def test_one_file_of_one_image(predicted: Path, tmp_path: Path) -> None:
    file, image = str(predicted / "demo_000.geojson"), str(predicted / "demo_000.png")
    assert corrections(predictions=file, edited=file, input=image, output=str(tmp_path / "out")) == 0
    assert (tmp_path / "out" / "corrections.html").is_file()


def test_only_reviewed_regions_are_compared(
    predicted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a region over the whole image all nuclei are compared, of one without nuclei none; regions are no nuclei."""
    sides = {"demo_000": 96, "demo_001": 0.5}
    (tmp_path / "edited").mkdir()
    counts = []
    for name, side in sides.items():
        document = json.loads((predicted / f"{name}.geojson").read_text(encoding="utf-8"))
        counts.append(len(document["features"]))
        ring = [[0, 0], [side, 0], [side, side], [0, side], [0, 0]]
        region = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
        document["features"].append({**region, "properties": {"classification": {"name": "Reviewed"}}})
        (tmp_path / "edited" / f"{name}.geojson").write_text(json.dumps(document), encoding="utf-8")
    keys = {"predictions": predicted, "edited": tmp_path / "edited", "input": predicted, "output": tmp_path / "out"}
    assert corrections(**{key: str(value) for key, value in keys.items()}) == 0
    with (tmp_path / "out" / "corrections.csv").open() as handle:
        first, _ = csv.DictReader(handle)
    assert (first["accepted"], first["added"]) == (str(counts[0]), "0")
