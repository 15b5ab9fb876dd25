"""The door of evaluation: what it writes, which ids and thresholds it takes, how it ends."""

import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nucleiseg.cli import evaluate as evaluating
from nucleiseg.cli.evaluate import EvaluateKeys, evaluate
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError
from nucleiseg.evaluation.truth import ImageTruth, Truth, Unreadable, layer_masks

ROOT = Path(__file__).parents[2]
READER = DemoReader(images=2, size=48)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Truth as folders, the same masks as results under ids of their own, images.json and counts.csv beside them."""
    write_folders(READER, tmp_path / "truth")
    results, entries = [], []
    for number, record in zip((12, 5), READER.records(), strict=True):
        entries.append({"file_name": f"{record.name}.png", "id": number, "height": 48, "width": 48})
        sample = READER.read(record)
        for mask in layer_masks(sample.layers, sample.layer_index):
            results.append({"image_id": number, "category_id": 1, "segmentation": mask, "score": 0.4})
    (tmp_path / "answer.json").write_text(json.dumps(results))
    (tmp_path / "images.json").write_text(json.dumps(entries))
    (tmp_path / "counts.csv").write_text("image,image_id,count,threshold,capped\na,12,9,0.35,false\nb,5,9,0.35,false\n")
    return {
        "predictions": tmp_path / "answer.json",
        "truth": tmp_path / "truth",
        "output": tmp_path / "out" / "metrics.json",
        "cache_dir": tmp_path / "cache",
    }


def written(files: dict[str, Any]) -> dict[str, Any]:
    return json.loads(files["output"].read_text())


def test_truth_as_prediction(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(**files) == 0
    metrics = written(files)
    assert metrics["ap"] == metrics["pq"] == metrics["aji"] == 1
    assert metrics["count_threshold"] == 0.35
    assert [(line["image"], line["image_id"]) for line in metrics["per_image"]] == [("demo_000", 12), ("demo_001", 5)]
    assert metrics["unreadable"] == {}
    printed = capsys.readouterr().err
    assert "images.json (ids= gives another file)" in printed
    assert "threshold 0.35" in printed
    assert "AP, AP50, AP75 at all detections  1.0000  1.0000  1.0000" in printed
    assert "Boxes: AP, AP50, AP75 at all      1.0000  1.0000  1.0000" in printed
    assert "AP, AP50, AP75, diameter 16 to 32 1.0000  1.0000  1.0000  (" in printed
    assert "diameter below 16" not in printed  # none is so small
    assert list(metrics["per_class"]) == ["nucleus"]
    assert "of nucleus" not in printed  # one class: its numbers are those above


def test_given_keys_win(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text((tmp_path / "images.json").read_text().replace("12", "5", 1))
    with pytest.raises(InputError, match=r"other\.json lists image id 5 2 times"):
        evaluate(**files, ids=tmp_path / "other.json")
    evaluate(**files, count_threshold=0.5)
    assert written(files)["count_threshold"] == 0.5
    assert written(files)["dq"] == 0
    assert written(files)["ap"] == 1


@pytest.mark.parametrize(
    "content",
    ["image,threshold\na,0.3\nb,0.4\n", "image\na\n", "threshold\nhigh\n", "threshold\nnan\n", "threshold\n7\n", None],
)
def test_no_single_threshold_beside_the_results(files: dict[str, Any], tmp_path: Path, content: str | None) -> None:
    (tmp_path / "counts.csv").unlink()
    if content is not None:
        (tmp_path / "counts.csv").write_text(content)
    evaluate(**files)
    assert written(files)["count_threshold"] == 0.5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_beside_the_results_is_not_waited_for(files: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "counts.csv").unlink()
    os.mkfifo(tmp_path / "counts.csv")
    evaluate(**files)
    assert written(files)["count_threshold"] == 0.5


def test_a_problem_of_several_images_is_printed_once(
    files: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Truth(
        (ImageTruth(name="a", image_id=12, height=48, width=48, masks=[], labels=[]),),
        {1: "nucleus"},
        tuple(Unreadable(name, 5, ["the share is gone."]) for name in "bcd"),
    )
    monkeypatch.setattr(evaluating, "_read_truth", lambda *_: known)
    assert evaluate(**files) == 3
    assert capsys.readouterr().err.count("the share is gone.") == 1


def test_an_image_that_cannot_be_read_is_left_out(files: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    damaged = next((files["truth"] / "demo_001" / "masks").iterdir())
    damaged.write_bytes(b"damaged")
    assert evaluate(**files) == 1
    assert written(files)["images"] == 1
    assert damaged.name in written(files)["unreadable"]["demo_001"][0]
    assert "1 image, " in (said := capsys.readouterr().err)
    assert "Left out, because their truth cannot be read: demo_001." in said


def test_coco_truth_knows_its_ids(files: dict[str, Any], tmp_path: Path) -> None:
    results = json.loads(files["predictions"].read_text())
    images = [{"id": number, "file_name": f"x{number}.png", "height": 48, "width": 48} for number in (5, 12)]
    truth = {"images": images, "annotations": results, "categories": [{"id": 1, "name": "nucleus"}]}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    files["truth"] = tmp_path / "truth.json"
    evaluate(**files, ids=tmp_path / "truth.json")
    assert written(files)["ap"] == 1
    (tmp_path / "images.json").unlink()
    evaluate(**files)
    assert written(files)["ap"] == 1


def test_what_is_refused(files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"truth=.*nowhere does not exist"):
        evaluate(**files | {"truth": tmp_path / "nowhere"})
    (tmp_path / "images.json").unlink()
    with pytest.raises(InputError, match=r"is a folder, and no images\.json lies beside the results.*ids=FILE"):
        evaluate(**files)
    assert not files["output"].exists()


def test_the_reference_card_has_the_keys_of_the_command() -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("evaluate", overrides=["predictions=answer.json", "truth=masks"])
    keys = EvaluateKeys(predictions="answer.json", truth="masks").to_dict()
    assert keys.pop("data") is None
    assert OmegaConf.to_container(config) == {**keys, "precision": 32}, "a number, as YAML reads it"


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("count_threshold", "high", "count_threshold is 'high'; it accepts a number"),
        ("count_threshold", 2, "count_threshold is 2; it accepts a number from 0 to 1"),
        ("precision", "float16", "precision is 'float16'; it accepts one of 32, tf32"),
        ("precision", "bf16-mixed", "precision is bf16-mixed; it accepts 32 for results that exist already"),
        (
            "tta",
            {"quarter_turns": True},
            "tta is {.*quarter_turns: true.*; it accepts none for results",
        ),
        ("mask_nms", 0.25, r"mask_nms is 0\.25; it accepts null for results that exist already"),
        ("tile", None, "tile is null; it accepts auto for results that exist already"),
        ("treshold", 0.5, "treshold is not a key; did you mean count_threshold"),
    ],
)
def test_a_key_that_makes_no_sense_is_named(files: dict[str, Any], key: str, value: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        evaluate(**files | {key: value})


@pytest.mark.parametrize("given", [[], ["predictions"], ["checkpoint"], ["predictions", "truth", "checkpoint"]])
def test_an_incomplete_choice_of_files_is_refused(given: list[str]) -> None:
    with pytest.raises(InputError, match=r"cannot be scored: pass predictions=FILE truth=.* or checkpoint="):
        evaluate(**dict.fromkeys(given, "file"))


def test_an_output_that_cannot_be_written_is_refused_first(files: dict[str, Any], tmp_path: Path) -> None:
    nothing = files | {"predictions": tmp_path / "nowhere.json"}
    with pytest.raises(InputError, match=rf"output={tmp_path} is a folder; give a file"):
        evaluate(**nothing | {"output": tmp_path})
    with pytest.raises(InputError, match=r"counts\.csv is a file; give a folder"):
        evaluate(**nothing | {"output": tmp_path / "counts.csv" / "metrics.json"})


def test_the_script_ends_with_a_code_and_a_sentence(
    files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files["predictions"].write_text("{}")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *(f"{key}={value}" for key, value in files.items())])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "evaluate.py"), run_name="__main__")
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert "expected is a COCO result file" in printed
    assert "Traceback" not in printed


def test_the_script_says_that_some_failed(files: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    next((files["truth"] / "demo_001" / "masks").iterdir()).write_bytes(b"damaged")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *(f"{key}={value}" for key, value in files.items())])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "evaluate.py"), run_name="__main__")
    assert stop.value.code == 1
    assert written(files)["images"] == 1
