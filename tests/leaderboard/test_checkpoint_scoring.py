"""Scoring a checkpoint on a data set gives what scoring its results gives."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from nucleiseg.cli.evaluate import evaluate
from nucleiseg.cli.predict import predict
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata, load, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build

Composed = Callable[..., dict[str, Any]]

MODEL: dict[str, Any] = {
    "name": "tiny",
    "backbone": "resnet10_narrow",
    "norm": "gn",
    "fpn_channels": 32,
    "roi": {"fc_dim": 16},
    "mask": {"convs": 1, "channels": 8},
    "detection": {"score_threshold": 0.05, "limit": 20},
}


@pytest.fixture
def keys(tmp_path: Path, composed: Composed) -> dict[str, Any]:
    """A network that has learnt nothing, and four images with their masks."""
    torch.manual_seed(0)
    config = ModelConfig.from_dict(MODEL)
    metadata = Metadata(model=config.to_dict(), score_threshold=0.2)
    save(tmp_path / "step.ckpt", build(config, num_classes=1), metadata)
    write_folders(DemoReader(images=4, size=72), tmp_path / "data")
    checkpoint = f"checkpoint={tmp_path / 'step.ckpt'}"
    data = ["data=folders", f"data.root={tmp_path / 'data'}", "data.cache_dir=none"]
    return composed("evaluate", checkpoint, *data, "data.val=none", f"output={tmp_path / 'metrics.json'}")


def numbers(path: str) -> dict[str, Any]:
    metrics = json.loads(Path(path).read_text())
    return {key: metrics[key] for key in ("ap", "ap50_100", "aji", "pq", "count_mae", "count_threshold", "results")}


def test_a_checkpoint_scores_as_its_results_do(keys: dict[str, Any], tmp_path: Path) -> None:
    assert evaluate(**keys) == 0
    predict(checkpoint=keys["checkpoint"], input=tmp_path / "data", output=tmp_path / "out", overlays=False)
    answer = tmp_path / "out" / "answer.json"
    evaluate(
        predictions=answer, truth=tmp_path / "data", output=tmp_path / "of_file.json", cache_dir=tmp_path / "cache"
    )
    of_checkpoint, of_file = numbers(keys["output"]), numbers(str(tmp_path / "of_file.json"))
    assert of_checkpoint == pytest.approx(of_file, abs=1e-6)
    assert of_checkpoint["results"] > 0
    assert of_checkpoint["count_threshold"] == 0.2


def test_images_that_are_held_out_are_scored(keys: dict[str, Any], tmp_path: Path) -> None:
    keys["data"]["val"] = ["demo_002"]
    evaluate(**keys)
    metrics = json.loads(Path(keys["output"]).read_text())
    assert [line["image"] for line in metrics["per_image"]] == ["demo_002"]
    assert "hold out (all, without a split)" in metrics["notes"][0]


def test_the_precision_of_the_prediction_is_recorded(keys: dict[str, Any]) -> None:
    found = []
    for precision in (32, "bf16-mixed"):
        evaluate(**keys | {"precision": precision})
        metrics = json.loads(Path(keys["output"]).read_text())
        assert metrics["precision"] == str(precision)
        found.append([metrics[key] for key in ("ap", "ap50", "ap75", "box_ap", "aji", "dice")])
    assert found[0] != found[1]
    assert found[0] == pytest.approx(found[1], abs=0.05)
    evaluate(**keys | {"precision": "32"})
    assert found[0] == [
        json.loads(Path(keys["output"]).read_text())[key] for key in ("ap", "ap50", "ap75", "box_ap", "aji", "dice")
    ]


def test_the_policies_of_the_prediction_are_used_and_recorded(keys: dict[str, Any]) -> None:
    results = []
    for policies in ({}, {"mask_nms": 0.0}, {"tta": {"flips": ["horizontal"], "merge": "detectron2"}}):
        evaluate(**keys | policies)
        metrics = json.loads(Path(keys["output"]).read_text())
        assert metrics["mask_nms"] == policies.get("mask_nms")
        assert metrics["tta"]["flips"] == policies.get("tta", {}).get("flips", [])
        assert metrics["tile"] == "auto"
        results.append(tuple(metrics[key] for key in ("results", "ap", "box_ap", "aji")))
    assert len(set(results)) == 3


def test_other_classes_are_refused(keys: dict[str, Any], tmp_path: Path) -> None:
    network, metadata = load(keys["checkpoint"])
    save(keys["checkpoint"], network, replace(metadata, class_names=("lymphocyte",)))
    with pytest.raises(InputError, match="name the classes nucleus; wanted are lymphocyte"):
        evaluate(**keys)
    assert not Path(keys["output"]).exists()
