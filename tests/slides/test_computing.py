"""Shards, processes and a Dask cluster compute the same blocks, also where a process is killed."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from planted import CHECKPOINT

from benchmarks.synthetic_slide import write_slide
from nucleiseg.cli.predict import predict
from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.slides import computing, plan
from nucleiseg.slides.blocks import BlockPredictor, SlideJob
from nucleiseg.slides.computing import blocks_of_shard, parse_shard

MODEL: dict[str, Any] = {
    "name": "tiny",
    "backbone": "resnet18",
    "norm": "gn",
    "fpn_channels": 32,
    "rpn": {"post_nms_test": 50},
    "roi": {"fc_dim": 16},
    "mask": {"convs": 1, "channels": 8},
    "detection": {"score_threshold": 0.0, "limit": 5},
}


def test_shards_divide_the_blocks() -> None:
    shards = [blocks_of_shard(11, f"{number}/3") for number in (1, 2, 3)]
    assert sorted(number for shard in shards for number in shard) == blocks_of_shard(11, None) == list(range(11))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    for text in ("0/3", "4/3", "1", "a/b", "1/3/5", "-1/2"):
        with pytest.raises(ValueError, match=text):
            parse_shard(text)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The keys of a prediction whose network has learnt nothing, of a slide of four blocks."""
    folder = tmp_path_factory.mktemp("slide")
    torch.manual_seed(0)
    config = ModelConfig.from_dict(MODEL)
    metadata = Metadata(model=config.to_dict(), preprocessing={"scale": 1.0, "mpp": 0.5}, largest_nucleus=30.0)
    save(folder / "step.ckpt", build(config, num_classes=1), metadata)
    write_slide(folder / "slide.tif", 512, mpp=0.5)
    paths = {"checkpoint": folder / "step.ckpt", "input": folder / "slide.tif"}
    return {**paths, "mask": "none", "tile": 256, "count_threshold": 0.05, "device": "cpu"}


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "BLOCK_SIDE", 2)


def files(output: Path) -> dict[str, bytes]:
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_a_slide_is_predicted_by_the_command_and_found_again(
    keys: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(**keys, output=tmp_path, shard="1/2") == 0
    assert "written to" in capsys.readouterr().err  # one block: the first shard is the last
    made = files(tmp_path)
    assert set(made) > {"geojson/slide.geojson.gz", "nuclei/slide.csv", "slides/slide/counts.csv"}
    assert predict(**keys, output=tmp_path) == 0
    assert "Resuming: 1 of 1 block are finished" in capsys.readouterr().err
    assert files(tmp_path) == made


def test_keys_of_slides_are_refused_for_images(keys: dict[str, Any], tmp_path: Path) -> None:
    given = {**keys, "input": "demo", "output": tmp_path}
    with pytest.raises(InputError, match=r"mask is for slides, and input=.* is none"):
        predict(**given)
    with pytest.raises(InputError, match="shard is '5/2'; it accepts i/n"):
        predict(**{**keys, "shard": "5/2"})
    with pytest.raises(InputError, match="workers is 2; it accepts 1 beside scheduler"):
        predict(**keys, workers=2, scheduler="tcp://localhost:1")


def test_a_job_with_another_checkpoint_is_refused(keys: dict[str, Any], tmp_path: Path) -> None:
    predict(**keys, output=tmp_path)
    path = tmp_path / "slides" / "slide" / "plan.json"
    text = path.read_text()
    planned = text.split('"checkpoint": "')[1][:64]
    path.write_text(text.replace(planned, CHECKPOINT))
    with pytest.raises(InputError, match=r"step\.ckpt is not the file that .* was planned with"):
        BlockPredictor.of_job(SlideJob(keys["input"], keys["checkpoint"], path.parent, "cpu"))


def test_a_scheduler_that_does_not_answer_is_named(
    keys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="pip install 'nucleiseg[dask]'")
    monkeypatch.setattr(computing, "CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=r"scheduler=tcp://127\.0\.0\.1:9 does not answer"):
        predict(**keys, output=tmp_path, scheduler="tcp://127.0.0.1:9")


@contextmanager
def killing(output: Path, processes: Callable[[], list[int]]) -> Iterator[None]:
    """Kill one of the processes as soon as the first block is finished, and check that it happened."""
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not list((output / "slides").rglob("*.block")):
            time.sleep(0.01)
        if running := processes():
            os.kill(running[0], signal.SIGKILL)
            killed.append(running[0])

    thread = Thread(target=kill)
    thread.start()
    yield
    thread.join()
    assert killed


def _child_processes() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
def test_two_processes_of_which_one_is_killed_write_the_same_bytes(keys: dict[str, Any], tmp_path: Path) -> None:
    predict(**keys, output=tmp_path / "one")
    with killing(tmp_path / "two", _child_processes):
        predict(**keys, output=tmp_path / "two", workers=2)
    assert files(tmp_path / "two") == files(tmp_path / "one")


@pytest.mark.slow
@pytest.mark.usefixtures("_small_blocks")
def test_a_cluster_of_which_a_worker_is_killed_writes_the_same_bytes(keys: dict[str, Any], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="pip install 'nucleiseg[dask]'")
    predict(**keys, output=tmp_path / "one")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        workers = [worker.pid for worker in cluster.workers.values()]
        with killing(tmp_path / "cluster", lambda: workers):
            predict(**keys, output=tmp_path / "cluster", scheduler=cluster.scheduler_address)
    assert files(tmp_path / "cluster") == files(tmp_path / "one")
