"""A slide from end to end: planted nuclei are found, and the same bytes come from any way of computing the blocks."""

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import CHECKPOINT, DarkDiscs, predictor

from benchmarks.synthetic_slide import SyntheticSlide, write_slide
from nucleiseg.errors import InputError
from nucleiseg.slides import blocks, run
from nucleiseg.slides.run import SlideOptions, SlideSummary, predict_slide

SIDE = 1536

OPTIONS = SlideOptions(write=("geojson.gz", "geojson", "csv", "coco"))


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SyntheticSlide]:
    path = tmp_path_factory.mktemp("slides") / "planted.tif"
    return path, write_slide(path, SIDE, tissue=0.3, mpp=0.5)


@pytest.fixture(scope="module")
def expected(slide: tuple[Path, SyntheticSlide], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an uninterrupted prediction."""
    output = tmp_path_factory.mktemp("whole")
    assert predict(slide[0], output).missing == 0
    return files(output)


def predict(
    path: Path, output: Path, network: DarkDiscs | None = None, options: SlideOptions = OPTIONS
) -> SlideSummary:
    return predict_slide(path, predictor(network), (Path("step.ckpt"), CHECKPOINT), output, options)


def files(output: Path) -> dict[str, bytes]:
    """Every file but zips, which hold a time."""
    found = [path for path in output.rglob("*") if path.is_file() and path.suffix != ".zip"]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in found}


def test_every_planted_nucleus_is_found_once_at_its_place(
    slide: tuple[Path, SyntheticSlide], expected: dict[str, bytes]
) -> None:
    features = json.loads(gzip.decompress(expected["geojson/planted.geojson.gz"]))["features"]
    assert features == json.loads(expected["geojson/planted.geojson"])["features"]
    rings = [np.array(feature["geometry"]["coordinates"][0]) for feature in features]
    found = {tuple((ring.min(axis=0) + ring.max(axis=0)) / 2) for ring in rings}
    planted = {(x, y) for x, y, _ in slide[1].nuclei().tolist()}
    assert found == planted
    assert len(features) == len(planted) > 300
    lines = expected["nuclei/planted.csv"].decode().splitlines()
    assert len(lines) == 1 + len(planted)
    assert len({line.split(",")[1] for line in lines}) == len(lines)
    results = json.loads(expected["answer.json"])
    assert {tuple(np.array(it["bbox"][:2]) + np.array(it["bbox"][2:]) / 2) for it in results} == planted
    numbers = expected["slides/planted/counts.csv"].decode().splitlines()[1].split(",")
    assert numbers[:2] == ["planted.tif", str(len(planted))]
    assert float(numbers[7]) == pytest.approx(0.3 * (SIDE * 0.5 / 1000) ** 2, rel=0.05)


@pytest.mark.parametrize("fails_at", [0, 20, 45])
def test_a_killed_prediction_continues_to_the_same_bytes(
    slide: tuple[Path, SyntheticSlide], expected: dict[str, bytes], tmp_path: Path, fails_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(slide[0], tmp_path, DarkDiscs(fails_at))
    assert not (tmp_path / "geojson").exists()
    done = len(list((tmp_path / "slides" / "planted" / "blocks").glob("*")))
    network = DarkDiscs()
    predict(slide[0], tmp_path, network)
    assert files(tmp_path) == expected
    whole = DarkDiscs()
    predict(slide[0], tmp_path / "again", whole)
    assert (network.seen < whole.seen) == (done > 0)


def test_a_kill_while_files_are_written_leaves_none_of_them(
    slide: tuple[Path, SyntheticSlide],
    expected: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merge, save = run.merge_blocks, np.save

    def cut_off(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blocks.np, "save", cut_off)
    with pytest.raises(KeyboardInterrupt):
        predict(slide[0], tmp_path)
    assert list((tmp_path / "slides" / "planted" / "blocks").iterdir()) == []
    monkeypatch.setattr(blocks.np, "save", save)

    def merge_a_part(*args: object) -> object:
        merged = merge(*args)
        yield next(merged)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "merge_blocks", merge_a_part)
    with pytest.raises(KeyboardInterrupt):
        predict(slide[0], tmp_path)
    assert not any((tmp_path / name).exists() for name in expected if name.startswith(("geojson/", "nuclei/")))
    monkeypatch.setattr(run, "merge_blocks", merge)
    network = DarkDiscs(fails_at=0)
    predict(slide[0], tmp_path, network)
    assert files(tmp_path) == expected


def test_four_shards_in_any_order_write_the_same_bytes(
    slide: tuple[Path, SyntheticSlide], expected: dict[str, bytes], tmp_path: Path
) -> None:
    missing = []
    for number in (3, 1, 4, 2):
        summary = predict(slide[0], tmp_path, options=replace(OPTIONS, shard=f"{number}/4"))
        missing.append(summary.missing)
    assert missing == sorted(missing, reverse=True)
    assert missing[0] > 0
    assert missing[-1] == 0
    assert files(tmp_path) == expected


def test_blocks_of_another_plan_are_refused(slide: tuple[Path, SyntheticSlide], tmp_path: Path) -> None:
    predict(slide[0], tmp_path)
    with pytest.raises(InputError, match=r"blocks of another prediction: mask, windows, .*changed"):
        predict(slide[0], tmp_path, options=replace(OPTIONS, mask="none"))
    with pytest.raises(InputError, match="blocks of another prediction: checkpoint changed"):
        predict_slide(slide[0], predictor(), (Path("step.ckpt"), "d" * 64), tmp_path, OPTIONS)
    with pytest.raises(InputError, match="blocks of another prediction: detections changed"):
        predict_slide(slide[0], predictor(detections=9), (Path("step.ckpt"), CHECKPOINT), tmp_path, OPTIONS)


def test_a_damaged_block_is_named(slide: tuple[Path, SyntheticSlide], tmp_path: Path) -> None:
    predict(slide[0], tmp_path)
    block = next((tmp_path / "slides" / "planted" / "blocks").iterdir())
    block.write_bytes(block.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"\.block is damaged .* remove it"):
        predict(slide[0], tmp_path)


def test_nuclei_outside_of_the_regions_of_a_file_are_left_out(
    slide: tuple[Path, SyntheticSlide], tmp_path: Path, geojson: Callable[..., Path]
) -> None:
    shell = [[600.5, 600.5], [900.5, 600.5], [900.5, 900.5], [600.5, 900.5]]
    hole = [[700.5, 700.5], [800.5, 700.5], [800.5, 800.5], [700.5, 800.5]]
    file = geojson({"type": "Polygon", "coordinates": [shell, hole]})
    network = DarkDiscs()
    summary = predict(slide[0], tmp_path, network, replace(OPTIONS, regions=file))
    distance = abs(slide[1].nuclei()[:, :2] - 750.5).max(axis=1)
    planted = (distance < 150) & (distance > 50)
    assert summary.nuclei == planted.sum() > 20
    assert network.seen < 30


@pytest.fixture
def geojson(tmp_path: Path) -> Callable[..., Path]:
    def write(*geometries: object) -> Path:
        features = [{"type": "Feature", "geometry": geometry, "properties": {}} for geometry in geometries]
        path = tmp_path / "regions.geojson"
        path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        return path

    return write


def test_formats_that_hold_a_slide_in_memory_are_refused(slide: tuple[Path, SyntheticSlide], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write has 'overlays'; on a slide it accepts a list of geojson"):
        predict(slide[0], tmp_path, options=replace(OPTIONS, write=("overlays",)))
    with pytest.raises(InputError, match="COCO's run lengths end"):
        run.check_slide_formats(["coco"], (70_000, 70_000))


def test_the_limit_on_detections_and_cut_nuclei_are_reported(
    slide: tuple[Path, SyntheticSlide], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capped = predictor(detections=3)
    summary = predict_slide(slide[0], capped, (Path("step.ckpt"), CHECKPOINT), tmp_path, OPTIONS)
    assert summary.capped > 0
    assert "3 allowed a tile" in capsys.readouterr().err
