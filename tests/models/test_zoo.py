"""The table of pretrained weights: complete, consistent with itself, with torchvision, and with our own networks."""

from pathlib import Path

import pytest
import torch
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.models.part_configs import MaskConfig, RoIConfig
from nucleiseg.models.zoo import ZOO, ZooEntry, automatic, close_names, misfits

ROOT = Path(__file__).parents[2]
DETECTRON2 = [entry for entry in ZOO.values() if entry.kind == "detectron2"]
TORCHVISION = [entry for entry in ZOO.values() if entry.kind != "detectron2"]

MODEL_IDS = {
    "coco/r50_c4_1x": 137259246,
    "coco/r50_dc5_1x": 137260150,
    "coco/r50_fpn_1x": 137260431,
    "coco/r50_c4_3x": 137849525,
    "coco/r50_dc5_3x": 137849551,
    "coco/r50_fpn_3x": 137849600,
    "coco/r101_c4_3x": 138363239,
    "coco/r101_dc5_3x": 138363294,
    "coco/r101_fpn_3x": 138205316,
    "coco/x101_fpn_3x": 139653917,
}


def model(name: str) -> ModelConfig:
    with initialize_config_dir(str(ROOT / "conf" / "model"), version_base="1.3"):
        return ModelConfig.from_dict(OmegaConf.to_container(compose(name), resolve=True))


def test_the_ten_baselines_are_there_under_their_numbers() -> None:
    assert {entry.name: entry.model_id for entry in DETECTRON2} == MODEL_IDS
    for entry in DETECTRON2:
        assert f"/{entry.model_id}/" in entry.address
        assert entry.address.endswith(f"model_final_{entry.digest.removeprefix('md5:')}.pkl")
        assert entry.measured is not None
        assert entry.measured.box_ap > entry.measured.mask_ap > 30
    assert len({entry.file_name for entry in ZOO.values()}) == len(ZOO)


@pytest.mark.parametrize("entry", DETECTRON2, ids=lambda entry: entry.name)
def test_parameters_and_sizes_are_those_of_our_networks(entry: ZooEntry) -> None:
    assert entry.model is not None
    config = model(entry.model)
    with torch.device("meta"):
        network = build(ModelConfig.from_dict({**config.to_dict(), "weights": entry.name}), 80)
    assert sum(parameter.numel() for parameter in network.parameters()) == entry.parameters
    megabytes = sum(4 * tensor.numel() for tensor in network.state_dict().values()) / 1e6
    assert entry.megabytes == pytest.approx(megabytes, abs=0.6)


def test_the_shipped_model_fits_in_half_precision() -> None:
    with torch.device("meta"):
        network = build(model("nuclei_fpn"), 1)
    assert 2 * sum(parameter.numel() for parameter in network.parameters()) < 19e6


@pytest.mark.parametrize("entry", TORCHVISION, ids=lambda entry: entry.name)
def test_torchvision_says_the_same(entry: ZooEntry) -> None:
    name = entry.name.removeprefix("torchvision/").removeprefix("imagenet_")
    enumeration = torchvision.models.get_model_weights(name)
    weights = enumeration.IMAGENET1K_V1 if entry.family is None else enumeration.COCO_V1
    assert weights.url == entry.address
    assert entry.file_name.endswith(f"-{entry.digest.removeprefix('sha256:')}.pth")
    assert weights.meta["num_params"] == entry.parameters
    assert entry.megabytes == pytest.approx(weights.meta["_file_size"] * 2**20 / 1e6, abs=0.6)
    if entry.measured is not None:
        measured = weights.meta["_metrics"]["COCO-val2017"]
        assert (entry.measured.box_ap, entry.measured.mask_ap) == (measured["box_map"], measured["mask_map"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("r50_c4", "coco/r50_c4_3x"),
        ("r101_c4", "coco/r101_c4_3x"),
        ("r50_dc5", "coco/r50_dc5_3x"),
        ("r101_dc5", "coco/r101_dc5_3x"),
        ("r50_fpn", "coco/r50_fpn_3x"),
        ("r101_fpn", "coco/r101_fpn_3x"),
        ("x101_fpn", "coco/x101_fpn_3x"),
        ("r50_fpn_as_in_study", "coco/r50_fpn_3x"),
        ("r18_fpn", None),
    ],
)
def test_auto_is_the_longest_training_of_the_model(name: str, expected: str | None) -> None:
    entry = automatic(model(name))
    assert (entry and entry.name) == expected
    if entry is not None:
        assert misfits(entry, model(name)) == []


def test_auto_in_torchvisions_numerics_is_torchvisions() -> None:
    entry = automatic(ModelConfig(name="a", numerics="torchvision"))
    assert entry is ZOO["torchvision/maskrcnn_resnet50_fpn"]
    assert automatic(ModelConfig(name="a", numerics="torchvision", backbone="resnet101")) is None


def test_weights_of_another_model_are_distinguished() -> None:
    first, second = misfits(ZOO["coco/r101_fpn_3x"], ModelConfig(name="a", family="dc5"))
    assert first == "coco/r101_fpn_3x belongs to backbone=resnet101, but backbone is resnet50."
    assert second == "coco/r101_fpn_3x belongs to family=fpn, but family is dc5."
    assert len(misfits(ZOO["torchvision/maskrcnn_resnet50_fpn"], ModelConfig(name="a"))) == 1
    assert len(misfits(ZOO["coco/r50_fpn_3x"], ModelConfig(name="a", numerics="torchvision"))) == 1


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"fpn_channels": 96}, ["fpn_channels"]),
        ({"roi": RoIConfig(pool=14, fc_dim=256)}, ["roi.pool", "roi.fc_dim"]),
        ({"mask": MaskConfig(pool=28, convs=2, channels=96)}, ["mask.convs", "mask.channels"]),
        ({"family": "dc5"}, []),
    ],
)
def test_layers_of_another_width_are_named(changes: dict, keys: list[str]) -> None:
    config = ModelConfig(name="a", **changes)
    sentences = misfits(ZOO[f"coco/r50_{config.family}_3x"], config)
    assert [sentence.split("belongs to ")[1].partition("=")[0] for sentence in sentences] == keys
    with torch.device("meta"):
        theirs, ours = build(ModelConfig(name="b", family=config.family), 1), build(config, 1)
    shapes = {name: tensor.shape for name, tensor in theirs.state_dict().items()}
    differ = shapes != {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert differ == bool(keys)


def test_a_backbone_alone_fits_every_family_and_numerics() -> None:
    backbone = ZOO["torchvision/imagenet_resnet50"]
    assert misfits(backbone, ModelConfig(name="a", family="dc5")) == []
    assert misfits(backbone, ModelConfig(name="a", numerics="torchvision", fpn_channels=96)) == []
    assert misfits(backbone, ModelConfig(name="a", backbone="resnet101")) != []


def test_names_that_may_have_been_meant() -> None:
    assert close_names("r50_c4") == ["coco/r50_c4_1x", "coco/r50_c4_3x"]
    assert "coco/r101_fpn_3x" in close_names("coco/r101fpn_3x")
    assert close_names("something else entirely") == []


@pytest.mark.parametrize("entry", ZOO.values(), ids=lambda entry: entry.name)
def test_the_documentations_table_says_the_same(entry: ZooEntry) -> None:
    text = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if f"| `{entry.name}` |" in line)
    cells = [cell.strip() for cell in row.strip("| ").split("|")]
    assert cells[-2:] == [f"{entry.parameters / 1e6:.1f}", str(entry.megabytes)]
    measured = entry.measured
    if measured is not None:
        assert cells[-4:-2] == [f"{measured.box_ap:.1f}", f"{measured.mask_ap:.1f}"]
    if measured is not None and measured.train_seconds is not None:
        assert cells[0] == f"`{entry.model}`"
        speed = [f"{measured.train_seconds:.3f}", f"{measured.inference_seconds:.3f}", f"{measured.memory:.1f}"]
        assert cells[2:6] == [entry.schedule, *speed]
