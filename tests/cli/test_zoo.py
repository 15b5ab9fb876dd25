"""The zoo's door: a table of what there is, downloads ahead of time, checkpoints for detectron2."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir

from nucleiseg.cli.command_line import with_fetch_as_list
from nucleiseg.cli.containers import to_container
from nucleiseg.cli.zoo import zoo
from nucleiseg.errors import InputError
from nucleiseg.models import checkpoint
from nucleiseg.models import zoo as table
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.download import digest
from nucleiseg.models.mask_rcnn import build
from nucleiseg.models.weights.importer import load_detectron2

ROOT = Path(__file__).parents[2]
HERE, THERE = "coco/r50_c4_3x", "torchvision/imagenet_resnet50"


@pytest.fixture(autouse=True)
def tiny_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let two entries lie in files of this computer; return the folder of the cache."""
    monkeypatch.setenv("NUCLEISEG_CACHE", str(tmp_path / "cache"))
    for name in (HERE, THERE):
        path = tmp_path / "served" / table.ZOO[name].file_name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
        entry = replace(table.ZOO[name], address=path.as_uri(), digest=f"sha256:{digest(path)[:8]}")
        monkeypatch.setitem(table.ZOO, name, entry)
    return tmp_path / "cache" / "weights"


def line(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if name in line)


def test_the_table_shows_everything_and_what_is_here(capsys: pytest.CaptureFixture[str], tiny_zoo: Path) -> None:
    assert zoo() == 0
    before = capsys.readouterr()
    assert all(name in before.out for name in table.ZOO)
    assert line(before.out, HERE).split() == [HERE, "COCO", "3x", "39.8", "34.4", "144"]
    assert str(tiny_zoo) in before.err
    assert "CC BY-SA 3.0" in before.err
    zoo(fetch=HERE)
    capsys.readouterr()
    zoo()
    after = capsys.readouterr().out
    assert line(after, HERE).split()[-1] == "yes"
    assert "yes" not in line(after, THERE)


def test_weights_are_fetched_ahead(capsys: pytest.CaptureFixture[str], tiny_zoo: Path) -> None:
    assert zoo(fetch=[HERE, THERE]) == 0
    assert sorted(path.name for path in tiny_zoo.glob("[!.]*")) == ["model_final_4ce675.pkl", "resnet50-0676ba61.pth"]
    said = capsys.readouterr().err
    for name in (HERE, THERE):
        assert f"{name} is at {tiny_zoo / table.ZOO[name].file_name}." in said


def test_a_failed_download_is_reported_and_the_rest_is_fetched(
    capsys: pytest.CaptureFixture[str], tiny_zoo: Path, tmp_path: Path
) -> None:
    (tmp_path / "served" / table.ZOO[HERE].file_name).unlink()
    assert zoo(fetch=[HERE, THERE]) == 1
    said = capsys.readouterr().err
    assert f"{HERE} is not on this computer and cannot be downloaded" in said
    assert f"{THERE} is at" in said


def test_a_damaged_file_in_the_cache_is_reported_and_the_rest_is_fetched(
    capsys: pytest.CaptureFixture[str], tiny_zoo: Path
) -> None:
    damaged = tiny_zoo / table.ZOO[HERE].file_name
    tiny_zoo.mkdir(parents=True)
    damaged.write_bytes(b"half a file")
    assert zoo(fetch=[HERE, THERE]) == 1
    said = capsys.readouterr().err
    assert f"{damaged} is not {HERE}" in said
    assert f"{THERE} is at" in said


def test_an_unknown_name_is_refused_before_any_download(tiny_zoo: Path) -> None:
    with pytest.raises(InputError) as caught:
        zoo(fetch=[HERE, "r50_fpn", "nothing like it"])
    assert len(caught.value.problems) == 2
    assert "Did you mean coco/r50_fpn_1x or coco/r50_fpn_3x?" in caught.value.problems[0]
    assert not tiny_zoo.exists()


def test_a_checkpoint_becomes_a_file_of_detectron2(
    composed: Callable[..., dict[str, Any]], tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ModelConfig.from_dict(composed("train", *tiny)["model"])
    network = build(config, 2)
    metadata = Metadata(model=network.config.to_dict(), class_names=("tumor", "stroma"), step=400, scale=1.216)
    checkpoint.save(tmp_path / "step_000400.ckpt", network, metadata)
    assert zoo(export=tmp_path / "step_000400.ckpt", output=tmp_path / "out" / "mine.pkl") == 0
    again = build(network.config, 2)
    load_detectron2(again, tmp_path / "out" / "mine.pkl")
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    settings = yaml.safe_load((tmp_path / "out" / "mine.yaml").read_text(encoding="utf-8"))
    assert settings["MODEL"]["ROI_HEADS"]["NUM_CLASSES"] == 2
    assert settings["MODEL"]["RESNETS"]["DEPTH"] == 18
    said = capsys.readouterr()
    assert "(step 400) to" in said.err
    assert said.out == ""


def test_a_checkpoint_is_exported_in_half_precision(
    composed: Callable[..., dict[str, Any]], tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ModelConfig.from_dict(composed("train", *tiny)["model"])
    network = build(config, 1)
    whole, half = tmp_path / "step_000400.ckpt", tmp_path / "half.ckpt"
    checkpoint.save(whole, network, Metadata(model=network.config.to_dict(), step=400, score_threshold=0.3))
    assert zoo(export=whole, output=half) == 0
    assert "in half precision" in capsys.readouterr().err
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    again, metadata = checkpoint.load(half)
    assert metadata == checkpoint.read(whole)[1]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=2**-11, atol=2**-25)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"export": "a.ckpt"}, "belong together"),
        ({"output": "a.pkl"}, "belong together"),
        ({"export": "a.ckpt", "output": "a.pth"}, r"output is a\.pth; it accepts a file NAME\.pkl.*or NAME\.ckpt"),
        ({"export": "a.ckpt", "output": "a.pkl"}, r"a\.ckpt is not a file"),
    ],
)
def test_an_export_that_cannot_be_is_refused(keys: dict[str, str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        zoo(**keys)


@pytest.mark.parametrize(
    ("argument", "names"),
    [
        (f"fetch={HERE}", [HERE]),
        (f"fetch={HERE},{THERE}", [HERE, THERE]),
        (f"fetch=[{HERE},{THERE}]", [HERE, THERE]),
    ],
)
def test_names_on_the_command_line(argument: str, names: list[str]) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        assert to_container(compose("zoo", with_fetch_as_list([argument])))["fetch"] == names
    assert with_fetch_as_list(["export=a,b.ckpt", "--help"]) == ["export=a,b.ckpt", "--help"]
