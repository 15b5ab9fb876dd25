"""Checkpoints rebuild the network, and say what is wrong with a file that is none."""

import dataclasses
from pathlib import Path

import pytest
import torch
from small_networks import SPEC, image

from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata, load, read, save, write_half
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.part_configs import DetectionConfig, MaskConfig, RoIConfig, RPNConfig
from nucleiseg.models.pretrained_defaults import resolved
from nucleiseg.version import __version__

CONFIG = ModelConfig(
    name="small",
    backbone="resnet18",
    fpn_channels=8,
    rpn=RPNConfig(pre_nms_test=20, post_nms_test=10),
    roi=RoIConfig(fc_dim=16),
    mask=MaskConfig(convs=1, channels=8),
    detection=DetectionConfig(limit=5),
)


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    torch.manual_seed(3)
    return build(CONFIG, 2)


@pytest.fixture
def metadata() -> Metadata:
    return Metadata(
        model=CONFIG.to_dict(),
        class_names=("tumor", "stroma"),
        step=200,
        scale=1.216,
        score_threshold=0.4,
        fingerprint="abc",
    )


def test_what_is_loaded_predicts_as_what_was_saved(tmp_path: Path, network: MaskRCNN, metadata: Metadata) -> None:
    path = tmp_path / "checkpoints" / "step_000200.ckpt"
    save(path, network, metadata)
    loaded, read = load(path)
    assert read == metadata
    assert read.version == __version__
    assert not loaded.training
    assert loaded.config == resolved(CONFIG)
    with torch.no_grad():
        first, second = network.eval()([image()])[0], loaded([image()])[0]
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(first.masks, second.masks)
    assert list(path.parent.iterdir()) == [path]


def test_a_file_holds_weights_and_plain_python_alone(tmp_path: Path, network: MaskRCNN, metadata: Metadata) -> None:
    save(tmp_path / "a.ckpt", network, metadata)
    content = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert content.keys() == {"state_dict", "nucleiseg"}
    assert content["nucleiseg"]["model"] == CONFIG.to_dict()
    assert content["nucleiseg"]["class_names"] == ["tumor", "stroma"]


def test_lightnings_last_checkpoint_loads_too(tmp_path: Path, network: MaskRCNN, metadata: Metadata) -> None:
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    content = {
        "state_dict": {**weights, "metric.total": torch.zeros(1)},
        "nucleiseg": metadata.to_dict(),
        "optimizer_states": [{"state": {}}],
        "global_step": 200,
    }
    torch.save(content, tmp_path / "last.ckpt")
    loaded, read = load(tmp_path / "last.ckpt")
    assert read == metadata
    for name, value in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_a_threshold_may_not_have_been_chosen(tmp_path: Path, network: MaskRCNN, metadata: Metadata) -> None:
    save(tmp_path / "a.ckpt", network, dataclasses.replace(metadata, score_threshold=None))
    assert load(tmp_path / "a.ckpt")[1].score_threshold is None


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.ckpt is not a file; give a checkpoint"):
        load(tmp_path / "nothing.ckpt")


@pytest.mark.parametrize("content", [b"", b"not a zip file at all", b"PK\x03\x04 half a zip file"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.ckpt cannot be read as a checkpoint"):
        load(tmp_path / "bad.ckpt")


def test_a_truncated_checkpoint_is_named(tmp_path: Path, network: MaskRCNN, metadata: Metadata) -> None:
    path = tmp_path / "cut.ckpt"
    save(path, network, metadata)
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(InputError, match=r"cut\.ckpt cannot be read as a checkpoint"):
        load(path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"nucleiseg": Path("a"), "state_dict": {}}, tmp_path / "code.ckpt")
    with pytest.raises(InputError, match=r"code\.ckpt is refused, and nothing in it was run: it asks for pathlib"):
        load(tmp_path / "code.ckpt")


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_another_programs_file_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"other\.ckpt is not a checkpoint of nucleiseg"):
        load(tmp_path / "other.ckpt")


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path: Path, metadata: Metadata) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "nucleiseg": metadata.to_dict()}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=r"odd\.ckpt does not fit nucleiseg"):
        load(tmp_path / "odd.ckpt")


def test_a_configuration_of_another_version_is_reported(tmp_path: Path, network: MaskRCNN, metadata: Metadata) -> None:
    changed = dataclasses.replace(metadata, model={**metadata.model, "future_key": 1})
    save(tmp_path / "new.ckpt", network, changed)
    with pytest.raises(InputError, match=r"new\.ckpt does not fit nucleiseg.*future_key is not a key of model"):
        load(tmp_path / "new.ckpt")


def test_a_checkpoint_of_version_0_1_loads(tmp_path: Path) -> None:
    """It says `trunk`, and holds numbers for keys that have no effect in C4."""
    config = ModelConfig(name="old", family="c4", weights="mine.pkl")
    torch.manual_seed(0)
    network = build(config, 1, backbone=SPEC)
    model = {**network.config.to_dict(), "fpn_channels": 256}
    model["trunk"] = model.pop("backbone")
    model["roi"] |= {"fc_dim": 1024}
    model["mask"] |= {"pool": 14, "convs": 0}
    content = {"model": model, "class_names": ["nucleus"], "step": 5, "scale": 1.2, "version": "0.1.0"}
    torch.save({"state_dict": network.state_dict(), "nucleiseg": content}, tmp_path / "old.ckpt")
    weights, metadata = read(tmp_path / "old.ckpt")
    assert ModelConfig.from_dict(metadata.model) == network.config
    assert weights.keys() == network.state_dict().keys()


def test_half_precision_is_read_as_float32_rounded_to_11_bits(tmp_path: Path, metadata: Metadata) -> None:
    torch.manual_seed(0)
    weights = {"a": torch.randn(1000), "steps": torch.tensor(7)}
    write_half(tmp_path / "half.ckpt", weights, metadata)
    again, described = read(tmp_path / "half.ckpt")
    assert described == metadata
    assert again["a"].dtype == torch.float32
    assert again["steps"].equal(weights["steps"])
    assert not again["a"].equal(weights["a"])
    torch.testing.assert_close(again["a"], weights["a"], rtol=2**-11, atol=2**-25)
    write_half(tmp_path / "again.ckpt", again, metadata)
    assert read(tmp_path / "again.ckpt")[0]["a"].equal(again["a"])


def test_weights_beyond_half_precision_are_refused(tmp_path: Path, metadata: Metadata) -> None:
    with pytest.raises(InputError, match="weights a exceed 65,504"):
        write_half(tmp_path / "half.ckpt", {"a": torch.tensor([1.0, 7e4])}, metadata)
    assert not list(tmp_path.iterdir())
