"""What a network starts from: every value of `model.weights`, with and without a network, and what follows from it."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_networks import SPEC, small_config, small_network
from zoo_server import Server, serving

from nucleiseg.errors import InputError
from nucleiseg.models import checkpoint, pretrained, zoo
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.download import UnavailableError
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.pretrained import Initialization, resolve_weights
from nucleiseg.models.pretrained_defaults import PIXEL_STD
from nucleiseg.models.weights.exporter import save_detectron2
from nucleiseg.models.weights.import_report import ImportReport

NAME = "coco/r50_fpn_3x"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the zoo's weights be those of small networks."""
    monkeypatch.setattr(zoo, "_WIDTHS", {key: {} for key in zoo._WIDTHS})


@pytest.fixture
def coco() -> MaskRCNN:
    """What the zoo serves under `NAME`: a network for three classes."""
    return small_network(num_classes=3, weights="z")


@pytest.fixture
def server(coco: MaskRCNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    save_detectron2(coco, tmp_path / "served.pkl")
    with serving() as running:
        monkeypatch.setitem(zoo.ZOO, NAME, running.add(NAME, (tmp_path / "served.pkl").read_bytes()))
        yield running


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(zoo.ZOO, NAME, replace(zoo.ZOO[NAME], address="http://127.0.0.1:9/model_final_f10217.pkl"))


def started(start: Initialization, num_classes: int = 1) -> tuple[MaskRCNN, ImportReport]:
    torch.manual_seed(7)
    network = build(start.config, num_classes, backbone=SPEC)
    return network, start.load(network)


def backbone(network: MaskRCNN) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if name.startswith("backbone.body.")}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_null_is_random() -> None:
    start = resolve_weights(small_config(weights=None))
    assert start.words == "random"
    assert start.sentences == ()
    network, report = started(start)
    torch.manual_seed(7)
    assert same(network.state_dict(), build(small_config(), 1, backbone=SPEC).state_dict())
    assert report == ImportReport()


@pytest.mark.parametrize("weights", ["auto", NAME])
def test_coco_weights_come_from_the_network_then_from_the_cache(
    weights: str, coco: MaskRCNN, server: Server, tmp_path: Path
) -> None:
    for _ in range(2):
        start = resolve_weights(small_config(weights=weights), tmp_path / "weights")
    assert len(server.requests) == 1
    digest = hashlib.md5(server.files["/model_final_f10217.pkl"]).hexdigest()[:6]
    assert start.words == f"coco/r50_fpn_3x (md5 {digest}...)"
    assert start.sentences == (f"Starting from {start.words}.",)
    assert start.config.weights == NAME
    assert (start.config.norm, start.config.freeze_at) == ("frozen_bn", 2)
    assert start.config.stride_in_1x1
    assert start.config.pixel_std == (1.0, 1.0, 1.0)
    network, report = started(start)
    assert same(backbone(network), backbone(coco))
    assert {note.name for note in report.reinitialized} == {
        *("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"),
        "roi_heads.mask_predictor.mask_fcn_logits",
    }
    assert report.remarks == []


def test_a_cached_file_serves_without_a_network(server: Server, tmp_path: Path) -> None:
    resolve_weights(small_config(weights=NAME), tmp_path)
    del server.files["/model_final_f10217.pkl"]
    assert resolve_weights(small_config(weights="auto"), tmp_path).config.weights == NAME


@pytest.mark.usefixtures("offline")
def test_auto_without_a_network_is_random_and_says_so(tmp_path: Path) -> None:
    start = resolve_weights(small_config(weights="auto"), tmp_path)
    assert (start.words, start.config.weights, start.config.norm, start.config.freeze_at) == ("random", None, "gn", 0)
    text = " ".join(start.sentences)
    assert "FROM SCRATCH" in text
    assert "http://127.0.0.1:9/model_final_f10217.pkl" in text
    assert str(tmp_path / "model_final_f10217.pkl") in text
    assert started(start)[1].loaded == []


@pytest.mark.usefixtures("offline")
def test_auto_never_freezes_what_is_random(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        resolve_weights(small_config(weights="auto", norm="frozen_bn"), tmp_path)
    assert "cannot be downloaded" in caught.value.problems[0]
    assert "norm=frozen_bn needs pretrained weights" in caught.value.problems[1]


@pytest.mark.usefixtures("offline")
def test_a_name_without_a_network_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"put it at {tmp_path / 'model_final_f10217.pkl'}"):
        resolve_weights(small_config(weights=NAME), tmp_path)


@pytest.mark.usefixtures("server")
def test_a_cache_that_cannot_be_written_stops_a_name_and_not_auto(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file where the folder should be")
    start = resolve_weights(small_config(weights="auto"), tmp_path / "weights")
    assert start.words == "random"
    assert f"{tmp_path / 'weights'} cannot be written" in start.sentences[0]
    assert "FROM SCRATCH" in start.sentences[1]
    with pytest.raises(InputError, match="cannot be written"):
        resolve_weights(small_config(weights=NAME), tmp_path / "weights")


def test_a_damaged_file_ends_the_run_even_under_auto(server: Server, tmp_path: Path) -> None:
    (tmp_path / "model_final_f10217.pkl").write_bytes(b"half a file")
    with pytest.raises(InputError, match="Delete it"):
        resolve_weights(small_config(weights="auto"), tmp_path)
    assert server.requests == []


def test_auto_of_a_model_that_nobody_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    start = resolve_weights(ModelConfig(name="a", weights="auto", backbone="resnet18"))
    assert "weights=torchvision/imagenet_resnet18 would start from ImageNet's" in start.sentences[0]
    assert start.words == "random"
    monkeypatch.undo()
    narrow = resolve_weights(ModelConfig(name="a", weights="auto", fpn_channels=96))
    assert narrow.sentences[0] == f"{NAME} belongs to fpn_channels=256, but fpn_channels is 96."
    assert narrow.config.weights is None


def test_weights_of_another_model_are_refused_before_any_download(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"belongs to family=fpn, but family is c4"):
        resolve_weights(small_config("c4", weights=NAME), tmp_path)
    assert server.requests == []


@pytest.mark.parametrize(
    ("weights", "meant"),
    [("r50_fpn", "Did you mean coco/r50_fpn_1x or coco/r50_fpn_3x?"), ("no/such/file.pkl", "it accepts auto, null")],
)
def test_an_unknown_name_ends_the_run_with_the_known_ones(weights: str, meant: str) -> None:
    with pytest.raises(InputError, match="it accepts auto, null, the path of a file, or one of") as caught:
        resolve_weights(small_config(weights=weights))
    assert meant in str(caught.value)
    assert all(name in str(caught.value) for name in zoo.ZOO)


@pytest.mark.parametrize("suffix", ["pkl", "pth"])
def test_a_file_of_detectron2(coco: MaskRCNN, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine.{suffix}"
    save_detectron2(coco, tmp_path / "mine.pkl")
    if suffix == "pth":
        arrays = pretrained.read_weights(tmp_path / "mine.pkl")
        torch.save({"model": {name: arrays.tensor(name) for name in arrays.arrays}, "iteration": 3}, path)
    start = resolve_weights(small_config(weights=str(path)))
    assert start.words == f"{path} (sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}...)"
    assert start.config.weights == str(path)
    assert start.config.pixel_std == (1.0, 1.0, 1.0)
    assert same(backbone(started(start)[0]), backbone(coco))


def test_a_setting_that_contradicts_the_weights_stays_and_is_reported(coco: MaskRCNN, tmp_path: Path) -> None:
    save_detectron2(coco, tmp_path / "mine.pkl")
    config = small_config(weights=str(tmp_path / "mine.pkl"), pixel_std=PIXEL_STD)
    network, report = started(resolve_weights(config))
    assert network.transform.image_std == list(PIXEL_STD)
    assert any("pixel_std" in remark for remark in report.remarks)


def test_a_file_of_torchvisions_backbone(tmp_path: Path) -> None:
    theirs = small_network(weights="torchvision")
    state = {name.removeprefix("backbone.body."): value for name, value in backbone(theirs).items()}
    torch.save({**state, "fc.weight": torch.zeros(5, 128), "fc.bias": torch.zeros(5)}, tmp_path / "resnet.pth")
    start = resolve_weights(small_config("c4", weights=str(tmp_path / "resnet.pth")))
    assert start.config.stride_in_1x1 is False
    assert start.config.pixel_std == pytest.approx(PIXEL_STD)
    network, report = started(start)
    assert torch.equal(network.backbone.body.conv1.weight, theirs.backbone.body.conv1.weight)
    assert torch.equal(network.roi_heads.box_head[0].conv2.weight, theirs.backbone.body.layer4[0].conv2.weight)
    assert any("rpn" in note.name for note in report.reinitialized)


def test_a_file_of_torchvisions_mask_rcnn(tmp_path: Path) -> None:
    theirs = small_network(weights="torchvision", numerics="torchvision")
    torch.save(theirs.state_dict(), tmp_path / "maskrcnn.pth")
    config = small_config(weights=str(tmp_path / "maskrcnn.pth"), numerics="torchvision")
    network, report = started(resolve_weights(config))
    assert same(network.state_dict(), theirs.state_dict())
    assert report.reinitialized == []


def saved(path: Path, **changes: Any) -> MaskRCNN:  # noqa: ANN401
    """Write a checkpoint of a small network for two classes, as `last.ckpt` of Lightning or as one of ours."""
    network = small_network(num_classes=2, **changes)
    metadata = Metadata(
        model=network.config.to_dict(), class_names=("a", "b"), step=600, weights="coco/r50_fpn_3x (md5 f10217...)"
    )
    if path.name == "last.ckpt":
        state = {f"network.{name}": value for name, value in network.state_dict().items()}
        torch.save({"state_dict": state, "nucleiseg": metadata.to_dict(), "global_step": 600}, path)
    else:
        checkpoint.save(path, network, metadata)
    return network


@pytest.mark.parametrize("name", ["step_000600.ckpt", "last.ckpt"])
@pytest.mark.parametrize("norm", ["gn", "bn"])
def test_fine_tuning_keeps_the_settings_of_the_checkpoint(tmp_path: Path, name: str, norm: str) -> None:
    theirs = saved(tmp_path / name, norm=norm, pixel_std=(2.0, 3.0, 4.0), pixel_mean=(1.0, 2.0, 3.0))
    start = resolve_weights(small_config(weights=str(tmp_path / name)))
    for key in ("norm", "freeze_at", "stride_in_1x1", "pixel_mean", "pixel_std"):
        assert getattr(start.config, key) == getattr(theirs.config, key), key
    assert (start.config.norm, start.config.freeze_at) == (norm, 0)
    assert "..., step 600, started from: coco/r50_fpn_3x (md5 f10217...))" in start.words
    network, report = started(start, num_classes=2)
    assert same(network.state_dict(), theirs.state_dict())
    assert report.reinitialized == []


def test_fine_tuning_for_other_classes_starts_the_predictors_anew(tmp_path: Path) -> None:
    theirs = saved(tmp_path / "a.ckpt")
    network, report = started(resolve_weights(small_config(weights=str(tmp_path / "a.ckpt"))), num_classes=5)
    assert same(backbone(network), backbone(theirs))
    assert len(report.reinitialized) == 3
    assert "the file has 2 classes, this network 5" in " ".join(report.sentences())


def test_fine_tuning_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"a\.ckpt was trained with family=fpn, but family is dc5"):
        resolve_weights(small_config("dc5", weights=str(tmp_path / "a.ckpt")))
    wide = resolve_weights(small_config(weights=str(tmp_path / "a.ckpt"), fpn_channels=16))
    with pytest.raises(InputError, match=r"a\.ckpt \(a checkpoint of ours\) does not fit.*another shape"):
        started(wide)


def test_a_file_that_is_none_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"PK\x03\x04 half a zip file")
    with pytest.raises(InputError, match=r"a\.ckpt cannot be read"):
        resolve_weights(small_config(weights=str(tmp_path / "a.ckpt")))


def test_a_checkpoint_rebuilds_itself_without_the_zoo(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = resolve_weights(small_config(weights="auto", backbone="resnet50"), tmp_path / "weights")
    network = build(start.config, 1, backbone=SPEC)
    metadata = Metadata(model=network.config.to_dict(), weights=start.words)
    requests = len(server.requests)
    monkeypatch.setattr(pretrained, "fetch", None)
    with torch.device("meta"):
        again = build(ModelConfig.from_dict(metadata.model), 1)
    assert again.config == network.config
    assert len(server.requests) == requests
