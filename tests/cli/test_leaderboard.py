"""The whole command on runs of untrained networks: what is evaluated, cached, ranked and written."""

import csv
import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from nucleiseg.cli import refit
from nucleiseg.cli.evaluate import evaluate
from nucleiseg.cli.leaderboard import leaderboard
from nucleiseg.cli.predict import predict
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError
from nucleiseg.files import write_text
from nucleiseg.leaderboard import averages, candidates, checkpoint_scoring
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.image_sets import ImageSet, set_up_data
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.models.checkpoint import Metadata, read, save, write
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.report import leaderboard_files
from nucleiseg.report.leaderboard_files import gallery_of, summaries_of
from nucleiseg.report.page import write_page
from nucleiseg.report.submission_ledger import read_submissions

Composed = Callable[..., dict[str, Any]]

SMALL = [
    "model.backbone=resnet10_narrow",
    "model.roi.fc_dim=16",
    "model.mask.channels=8",
    "model.norm=gn",
    "model.detection.limit=20",
]


@pytest.fixture
def make_run(composed: Composed, tiny: list[str], tmp_path: Path) -> Callable[..., Path]:
    """Make a run of untrained networks as a training would leave it, below `runs`."""
    fingerprints: dict[str, dict[str, Any]] = {}

    def make(name: str, *overrides: str, steps: tuple[int, ...] = (2, 4), state: str = "done") -> Path:
        of_demo = ("data.images", "data.size") if "data=folders" in overrides else ()
        small = [key for key in (*tiny, *SMALL) if not key.startswith(of_demo)]
        config = composed("train", *small, *overrides)
        folder = tmp_path / "runs" / name
        (folder / "checkpoints").mkdir(parents=True)
        OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
        data = json.dumps(config["data"])
        if data not in fingerprints:
            datamodule = set_up_data(config["data"])
            fingerprints[data] = {**datamodule.split.to_dict(), "fingerprint": datamodule.fingerprint}
        (folder / "splits.json").write_text(json.dumps(fingerprints[data]))
        status = {"state": state, "steps": steps[-1], "of": 4, "peak_memory_mb": 321.5, "device": "cpu"}
        (folder / "status.json").write_text(json.dumps(status))
        (folder / "metrics.csv").write_text("step,time/step\n1,0.5\n2,\n3,0.7\n4,9\n")
        rows = []
        for step in steps:
            torch.manual_seed(step + 10 * config["seed"])
            model = ModelConfig.from_dict(config["model"])
            path = Path("checkpoints") / f"step_{step:06d}.ckpt"
            metadata = Metadata(model=model.to_dict(), step=step, score_threshold=0.3, weights="random")
            save(folder / path, build(model, num_classes=1), metadata)
            rows.append(f"{step},{path.as_posix()},,,,,\n")
        (folder / "index.csv").write_text("step,path,time,train/loss,val/loss,val/ap50,val/ap50_100\n" + "".join(rows))
        return folder

    return make


@pytest.fixture
def call(composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Call the command with overrides and a cache of its own; without charts, which take most of the time."""
    monkeypatch.setenv("NUCLEISEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(leaderboard_files, "write_page", lambda path, page: write_text(path, page.title))

    def with_overrides(*overrides: str) -> int:
        return leaderboard(**composed("leaderboard", "figures=false", *overrides))

    return with_overrides


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The checkpoints that were evaluated, in order."""
    done: list[str] = []
    original = candidates._evaluate

    def counted(job: candidates.EvaluationJob, *arguments: Any) -> Any:  # noqa: ANN401
        done.append(f"{job.run.name} {job.step}")
        return original(job, *arguments)

    monkeypatch.setattr(candidates, "_evaluate", counted)
    return done


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "leaderboard.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_checkpoint_of_a_sweep_is_ranked_once_and_written(
    make_run: Callable[..., Path],
    call: Callable[..., int],
    evaluated: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leaderboard_files, "write_page", write_page)
    make_run("000_a")
    make_run("001_b", "aug.saturation=[2,10]")
    runs = tmp_path / "runs"
    assert call(f"runs='{runs}'") == 0
    assert sorted(evaluated) == ["000_a 2", "000_a 4"], "001_b has the same weights"
    assert {path.name for path in runs.iterdir() if path.is_file()} == {
        "leaderboard.csv",
        "leaderboard.md",
        "leaderboard.tex",
        "report.html",
        "best.ckpt",
    }
    assert len(rows(runs)) == 4
    assert {row["seconds_per_step"] for row in rows(runs)} == {"0.7"}
    assert "saturation 2-10" in (runs / "report.html").read_text(encoding="utf-8")
    before = (runs / "leaderboard.csv").read_text()
    evaluated.clear()
    assert call(f"runs='{runs}'") == 0
    assert evaluated == []
    assert (runs / "leaderboard.csv").read_text() == before


def test_a_checkpoint_scores_as_evaluate_says(
    make_run: Callable[..., Path],
    call: Callable[..., int],
    composed: Composed,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint_scoring, "best_threshold", lambda _: 0.3)
    run = make_run("one", steps=(4,))
    call(f"runs='{run}'")
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    assert isinstance(config, dict)
    output = tmp_path / "metrics.json"
    keys = composed("evaluate", f"checkpoint='{run / 'checkpoints' / 'step_000004.ckpt'}'", f"output='{output}'")
    evaluate(**{**keys, "data": config["data"]})
    metrics = json.loads(output.read_text())
    (record,) = (path for path in (tmp_path / "cache" / "evaluations").glob("*.npz"))
    kept = EvaluationRecord.load(record)
    for key in ("ap", "ap50", "ap50_100", "aji", "pq", "count_mae", "count_threshold", "results"):
        assert kept.report[key] == pytest.approx(metrics[key]), key


GIVEN = ["data=demo", "data.images=3", "data.size=64", "data.seed=5", "data.val=none", "data.cache_dir=none"]


def test_a_threshold_is_chosen_on_validation_images_alone(
    make_run: Callable[..., Path], call: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_scoring, "best_threshold", lambda _: 0.625)
    run = make_run("one")
    call(f"runs='{run}'", "average_top=2")
    assert {float(row["count_threshold"]) for row in rows(run)} == {0.625}
    assert read(run / "best.ckpt")[1].score_threshold == read(run / "average_2.ckpt")[1].score_threshold == 0.625
    assert "slightly optimistic, for all checkpoints alike" in (run / "leaderboard.md").read_text(encoding="utf-8")

    path = run / "checkpoints" / "step_000004.ckpt"
    weights, metadata = read(path)
    write(path, weights, replace(metadata, score_threshold=0.5))
    call(f"runs='{run}'", "average_top=2", *GIVEN)
    found = {(row["kind"], row["step"]): float(row["count_threshold"]) for row in rows(run)}
    assert found == pytest.approx({("step", "2"): 0.3, ("step", "4"): 0.5, ("average", "4"): 0.4})
    assert read(run / "average_2.ckpt")[1].score_threshold == pytest.approx(0.4)
    (best,) = [row for row in rows(run) if row["rank"] == "1"]
    assert read(run / "best.ckpt")[1].score_threshold == pytest.approx(found[best["kind"], best["step"]])
    assert "for all checkpoints alike" not in (run / "leaderboard.md").read_text(encoding="utf-8")


def test_runs_that_were_trained_on_the_scored_images_are_named(
    make_run: Callable[..., Path], call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = make_run("one", steps=(4,)), make_run("two", "seed=1", steps=(4,))
    call(f"runs=['{run}','{other}']", f"output='{run}'")
    assert "trained on" not in capsys.readouterr().err
    config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))
    assert isinstance(config, dict)
    images, size, seed = (config["data"][key] for key in ("images", "size", "seed"))
    same = [f"data.images={images}", f"data.size={size}", f"data.seed={seed}", "data.val=none", "data.cache_dir=none"]
    call(f"runs=['{run}','{other}']", f"output='{run}'", "data=demo", *same)
    trained = len(json.loads((run / "splits.json").read_text())["train"])
    said = " ".join(capsys.readouterr().err.split())
    assert f"one, two were trained on {trained} of these {images} images, judging by their names: their numbers" in said


def test_the_same_validation_images_are_one_set_whatever_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet({"reader": "demo"}, "all", ["a"]), ImageSet({"reader": "demo"}, "fewer", ["a"])
    for one, keys in zip(images, ({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "2"}), strict=True):
        _look_like(one, keys, monkeypatch)
    assert images[0].digest == images[1].digest
    assert images[0].data_key != images[1].data_key
    changed = ImageSet({"reader": "demo"}, "changed", ["a"])
    _look_like(changed, {"a": "9", "b": "2", "c": "3"}, monkeypatch)
    assert changed.digest != images[0].digest


def _look_like(images: ImageSet, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a set of images find images of these names and content keys, the first of which is scored."""
    summaries = [SimpleNamespace(name=name, key=key) for name, key in keys.items()]
    data = SimpleNamespace(summaries=summaries, class_names=["nucleus"])
    monkeypatch.setitem(images.__dict__, "datamodule", data)
    monkeypatch.setitem(images.__dict__, "records", {next(iter(keys)): None})


def test_best_is_a_file_with_the_threshold_that_was_chosen_on_its_images(
    make_run: Callable[..., Path], call: Callable[..., int]
) -> None:
    run = make_run("one", steps=(4,))
    call(f"runs='{run}'")
    best, stored = read(run / "best.ckpt"), read(run / "checkpoints" / "step_000004.ckpt")
    assert all(torch.equal(best[0][name], value) for name, value in stored[0].items())
    info = next(json.loads(path.read_text()) for path in _infos(run))
    assert best[1].score_threshold == (info["chosen_threshold"] or 0.3)


def test_each_precision_has_evaluations_of_its_own(
    make_run: Callable[..., Path], call: Callable[..., int], evaluated: list[str]
) -> None:
    run = make_run("one", steps=(4,))
    for precision, anew in (("32", True), ("bf16-mixed", True), ("32", False), ("bf16-mixed", False)):
        evaluated.clear()
        assert call(f"runs='{run}'", f"precision={precision}") == 0
        assert evaluated == (["one 4"] if anew else []), precision
        assert ("precision=bf16-mixed" in (run / "leaderboard.md").read_text()) == (precision == "bf16-mixed")


@pytest.mark.parametrize(
    ("arguments", "note"), [(["mask_nms=0.25"], "mask_nms=0.25"), (["tta=flips", "tta.flips=[horizontal]"], "2 views")]
)
def test_each_policy_of_prediction_has_evaluations_of_its_own(
    make_run: Callable[..., Path], call: Callable[..., int], evaluated: list[str], arguments: list[str], note: str
) -> None:
    run = make_run("one", steps=(4,))
    for given, anew in (([], True), (arguments, True), ([], False), (arguments, False)):
        evaluated.clear()
        assert call(f"runs='{run}'", *given) == 0
        assert evaluated == (["one 4"] if anew else [])
        assert ("All checkpoints predicted with" in (run / "leaderboard.md").read_text()) == bool(given)
        assert (note in (run / "leaderboard.md").read_text()) == bool(given)


def test_best_is_not_written_again(make_run: Callable[..., Path], call: Callable[..., int], tmp_path: Path) -> None:
    run = make_run("one", steps=(4,))
    call(f"runs='{run}'")
    (path,) = _infos(run)
    for threshold in (0.625, 0.75):
        path.write_text(json.dumps({**json.loads(path.read_text()), "chosen_threshold": threshold}))
        call(f"runs='{run}'")
        assert read(run / "best.ckpt")[1].score_threshold == threshold
        written = (run / "best.ckpt").stat().st_mtime_ns
        call(f"runs='{run}'")
        assert (run / "best.ckpt").stat().st_mtime_ns == written


def test_an_average_is_one_more_entry_and_is_made_once(
    make_run: Callable[..., Path], call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("one", "model.norm=bn")
    assert call(f"runs='{run}'", "average_top=2") == 0
    assert "statistics of batch normalization are averaged" in capsys.readouterr().err
    weights, metadata = read(run / "average_2.ckpt")
    parts = [read(path)[0] for path in sorted((run / "checkpoints").iterdir())]
    name = "backbone.body.conv1.weight"
    assert torch.allclose(weights[name], (parts[0][name] + parts[1][name]) / 2)
    assert metadata.step == 4
    assert sorted(row["kind"] for row in rows(run)) == ["average", "step", "step"]
    made = (run / "average_2.ckpt").stat().st_mtime_ns
    assert call(f"runs='{run}'", "average_top=2") == 0
    assert (run / "average_2.ckpt").stat().st_mtime_ns == made
    (run / "average_2.ckpt").unlink()
    assert call(f"runs='{run}'", "average_top=2") == 0
    assert torch.equal(read(run / "average_2.ckpt")[0][name], weights[name])


def test_what_cannot_be_averaged_is_reported(
    make_run: Callable[..., Path], call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("one")
    single = make_run("single", steps=(4,))
    other = make_run("other", "model.mask.channels=16", steps=(4,))
    (run / "checkpoints" / "step_000004.ckpt").write_bytes((other / "checkpoints" / "step_000004.ckpt").read_bytes())
    assert call(f"runs='{run}'", "average_top=2") == 1
    assert "The best checkpoints of one cannot be averaged" in capsys.readouterr().err
    assert call(f"runs='{single}'", "average_top=2") == 0
    assert "only one of its steps is ranked" in capsys.readouterr().err


def test_a_page_leaves_out_what_can_no_longer_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache, images = (
        EvaluationCache(tmp_path),
        ImageSet({"reader": "folders", "root": str(tmp_path / "gone")}, "f", ["a"]),
    )
    best = SimpleNamespace(job=SimpleNamespace(key="key", images=images), evaluation=None)
    assert summaries_of(images, cache) == []
    assert gallery_of(best, cache) == []  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert "no charts of the data" in said
    assert "no gallery" in said


def test_unusable_runs_are_reported_and_the_rest_is_ranked(
    make_run: Callable[..., Path], call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("good", state="running")
    broken = make_run("broken")
    (broken / "checkpoints" / "step_000002.ckpt").write_bytes(b"no checkpoint")
    (broken / "checkpoints" / "step_000004.ckpt").unlink()
    begun = make_run("begun", state="running")
    (begun / "index.csv").unlink()
    empty = make_run("empty", state="failed")
    (empty / "index.csv").unlink()
    assert call(f"runs='{tmp_path / 'runs'}'") == 3
    said = capsys.readouterr().err
    for sentence in ("broken, step 2:", "broken, step 4:", "empty has no checkpoint", "good is running or was killed"):
        assert sentence in said
    assert "good is running or was killed (step 4 of 4): its checkpoints so far are ranked." in said
    assert "begun is running or was killed (step 4 of 4)." in said
    assert len(rows(tmp_path / "runs")) == 2


def test_runs_whose_data_were_moved(
    make_run: Callable[..., Path],
    call: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new, other = (tmp_path / name for name in ("old", "new", "other"))
    write_folders(DemoReader(images=4, size=64, seed=3), old)
    write_folders(DemoReader(images=4, size=64, seed=4), other)
    make_run("one", "data=folders", f"data.root='{old}'", steps=(4,))
    old.rename(new)
    with pytest.raises(InputError, match="old does not exist"):
        call(f"runs='{tmp_path / 'runs'}'")
    with pytest.raises(InputError, match=r"(?s)have changed since the run was trained.*data\.root=DIR"):
        call(f"runs='{tmp_path / 'runs'}'", f"data.root='{other}'")
    monkeypatch.chdir(tmp_path)
    assert call(f"runs='{tmp_path / 'runs'}'", "data.root=new") == 0
    assert len(rows(tmp_path / "runs")) == 1


def test_a_damaged_checkpoint_is_never_the_best(
    make_run: Callable[..., Path], call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """A flipped bit is named, counted and left out, also if the file was evaluated before it was damaged."""
    run = make_run("one")
    assert call(f"runs='{run}'") == 0
    for path in (run / "checkpoints").iterdir():
        data = path.read_bytes()
        path.write_bytes(data[:20_000] + bytes([data[20_000] ^ 1]) + data[20_001:])
        break
    capsys.readouterr()
    assert call(f"runs='{run}'") == 1
    assert f"{path} cannot be read as a checkpoint: it is damaged" in capsys.readouterr().err
    assert len(rows(run)) == 1
    read(run / "best.ckpt")


def test_a_run_without_validation_needs_data(
    make_run: Callable[..., Path], call: Callable[..., int], evaluated: list[str], tmp_path: Path
) -> None:
    run = make_run("all", "data.val=none", steps=(4,))
    with pytest.raises(InputError, match=r"trained on all its images: choose other images"):
        call(f"runs='{run}'")
    assert call(f"runs='{run}'", *GIVEN) == 0
    assert rows(run)[0]["images"] == "3"
    assert evaluated == ["all 4"]


def test_a_run_whose_data_have_changed_is_not_scored(make_run: Callable[..., Path], call: Callable[..., int]) -> None:
    run = make_run("one", steps=(4,))
    splits = json.loads((run / "splits.json").read_text())
    (run / "splits.json").write_text(json.dumps({**splits, "fingerprint": "0" * 16}))
    with pytest.raises(InputError, match="have changed since the run was trained"):
        call(f"runs='{run}'")


def test_a_run_without_fingerprint_is_scored_if_its_images_are_the_same(
    make_run: Callable[..., Path], call: Callable[..., int]
) -> None:
    run = make_run("one", steps=(4,))
    splits = json.loads((run / "splits.json").read_text())
    del splits["fingerprint"]
    (run / "splits.json").write_text(json.dumps(splits))
    assert call(f"runs='{run}'") == 0


def test_a_damaged_evaluation_is_computed_again(
    make_run: Callable[..., Path], call: Callable[..., int], evaluated: list[str], tmp_path: Path
) -> None:
    run = make_run("one", steps=(4,))
    for damage in (None, ".npz", ".json"):
        for path in (tmp_path / "cache" / "evaluations").glob(f"*{damage or 'nothing'}"):
            path.write_bytes(b"PK")
        assert call(f"runs='{run}'") == 0
    assert evaluated == ["one 4"] * 3


def test_several_places_need_an_output(
    make_run: Callable[..., Path], call: Callable[..., int], tmp_path: Path, evaluated: list[str]
) -> None:
    first, second = make_run("a", steps=(4,)), make_run("b", "seed=1", steps=(4,))
    both = f"runs=['{first}','{second}']"
    with pytest.raises(InputError, match="lists several folders"):
        call(both)
    assert evaluated == []
    assert call(both, f"output='{tmp_path / 'out'}'", "rank_by=ap50_100") == 0
    assert len(rows(tmp_path / "out")) == 1, "two seeds of a setting are one row"
    assert call(f"runs='{tmp_path / 'runs' / 'a*'}'") == 0
    assert (first / "leaderboard.csv").exists()


def test_a_submission_is_recorded_with_its_local_score(
    make_run: Callable[..., Path], call: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run("one", steps=(4,))
    call(f"runs='{run}'")
    write_folders(DemoReader(images=1, size=64), tmp_path / "data")
    predict(checkpoint=run / "best.ckpt", input=tmp_path / "data", output=tmp_path / "out", overlays=False)
    upload = f"submitted='{tmp_path / 'out' / 'answer.zip'}'"
    assert call(f"runs='{run}'", upload, "board_score=0.25", "rank_by=ap50_100") == 0
    (row,) = read_submissions(run / "submissions.csv")
    assert (row.board_score, row.metric, row.step) == (0.25, "ap50_100", 4)
    assert row.local_score == pytest.approx(float(rows(run)[0]["ap50_100"]))
    assert "the board's score 0.25" in capsys.readouterr().err
    (tmp_path / "out" / "answer.origin.json").unlink()
    (run / "submissions.csv").unlink()
    assert call(f"runs='{run}'", upload) == 0
    assert "without a local score" in capsys.readouterr().err


@pytest.mark.parametrize("bad", ["answer", "ledger"])
def test_a_bad_submission_is_refused_before_anything_is_done(
    bad: str, make_run: Callable[..., Path], call: Callable[..., int], evaluated: list[str], tmp_path: Path
) -> None:
    run = make_run("one", steps=(4,))
    answer = tmp_path / "answer.json"
    if bad == "ledger":
        answer.write_text("[]")
        (run / "submissions.csv").write_text("a,b\n")
    with pytest.raises(InputError, match="cannot be read" if bad == "answer" else "not a ledger"):
        call(f"runs='{run}'", f"submitted='{answer}'")
    assert evaluated == []
    assert not (run / "best.ckpt").exists()


def test_folds_of_a_setting_are_one_row(
    make_run: Callable[..., Path], call: Callable[..., int], tmp_path: Path
) -> None:
    """Each run is scored on its own fold; metrics are averaged over the folds."""
    for fold in (0, 1):
        make_run(f"fold_{fold}", "data.folds=2", f"data.fold={fold}", steps=(4,))
    assert call(f"runs='{tmp_path / 'runs'}'") == 0
    (row,) = rows(tmp_path / "runs")
    assert (row["image_sets"], row["seeds"], row["images"]) == ("2", "1", "4")
    assert set(row["runs"].split("; ")) == {"fold_0", "fold_1"}
    splits = [json.loads((tmp_path / "runs" / f"fold_{fold}" / "splits.json").read_text()) for fold in (0, 1)]
    assert sorted(splits[0]["val"] + splits[1]["val"]) == sorted(splits[0]["val"] + splits[0]["train"])


def test_a_refit_trains_the_winner_on_all_images(
    make_run: Callable[..., Path],
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run("one", "trainer.max_steps=9", "++optim.schedule.total_steps=12", steps=(4,))
    started: list[list[str]] = []

    def start(command: list[str], check: bool, env: dict[str, str]) -> SimpleNamespace:
        started.append(command)
        return SimpleNamespace(returncode=3)

    monkeypatch.setattr(refit.subprocess, "run", start)
    assert call(f"runs='{run}'", "refit=true") == 1
    assert "overrides.yaml cannot be read" in capsys.readouterr().err
    (run / ".hydra").mkdir()
    overrides = ["data=demo", "data.fold=1", "++optim.lr=0.1", "hydra/launcher=ray", "trainer.max_steps=9", "trust=[a]"]
    overrides += ["optim.schedule.total_steps=12", "optim.total_steps=12"]
    (run / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    assert call(f"runs='{run}'", "refit=true") == 0
    arguments = ["data=demo", "++optim.lr=0.1", "data.val=none", "data.fold=null"]
    arguments += ["trainer.max_steps=4", "optim.schedule.total_steps=12", f"hydra.run.dir={run}_refit"]
    assert f"python train.py {shlex.join(arguments)}" in capsys.readouterr().err
    assert started == []
    assert call(f"runs='{run}'", "refit=run") == 1
    assert "exit code 3" in capsys.readouterr().err
    assert started[0][1:] == ["-m", "nucleiseg", "train", *arguments]
    (run / ".hydra" / "overrides.yaml").write_text(json.dumps(["+callbacks.mine={_target_: os.system}"]))
    assert call(f"runs='{run}'", "refit=run") == 1
    assert "names classes on its command line" in capsys.readouterr().err
    assert len(started) == 1


def test_all_problems_of_the_keys_come_together(call: Callable[..., int]) -> None:
    with pytest.raises(InputError) as caught:
        leaderboard(runs=[], rank_by="mAP", average_top=1, outputs="x")
    keys = [problem.split()[0] for problem in caught.value.problems]
    assert sorted(keys) == ["average_top", "outputs", "rank_by", "runs"]


def test_a_network_that_overflows_is_named_and_not_ranked(
    make_run: Callable[..., Path], call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """All weights are finite, and still its outputs are not: zeros in the table would hide the reason."""
    run = make_run("one")
    path = run / "checkpoints" / "step_000004.ckpt"
    weights, metadata = read(path)
    huge = {name: value * 1e30 if value.is_floating_point() else value for name, value in weights.items()}
    write(path, huge, metadata)
    assert call(f"runs='{run}'") == 1
    assert "one, step 4: The network computes no finite scores" in capsys.readouterr().err
    assert "one, step 4: The network computes no finite scores" in (run / "leaderboard.md").read_text(encoding="utf-8")
    assert [row["step"] for row in rows(run)] == ["2"]


def _ranked(*rows: tuple[int, str]) -> Any:  # noqa: ANN401
    """Return what `average_best` looks at of a table: step and runs of each row of one setting."""
    of_rows = [
        SimpleNamespace(
            step=step, setting="r18", candidates=[SimpleNamespace(run=run, setting_key="k") for run in runs.split()]
        )
        for step, runs in rows
    ]
    return SimpleNamespace(rows=of_rows)


@pytest.mark.parametrize(
    ("ranked", "steps", "failures"),
    [
        ([(6, "a b"), (2, "a"), (4, "a b"), (8, "a b")], {4, 6}, 0),
        ([(6, "a b"), (2, "a"), (4, "b")], set(), 1),
        ([(6, "a"), (2, "a b")], {2, 6}, 0),
    ],
)
def test_only_steps_that_all_runs_have_are_averaged(
    ranked: list[tuple[int, str]], steps: set[int], failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = [
        SimpleNamespace(job=SimpleNamespace(run=SimpleNamespace(name=run), step=step))
        for step, runs in ranked
        for run in runs.split()
    ]
    monkeypatch.setattr(averages, "_average", lambda parts, *_: {part.job.step for part in parts})
    said: list[str] = []
    found = averages.average_best(_ranked(*ranked), scored, 2, tmp_path, *[None] * 2, said.append)  # type: ignore[arg-type, call-arg]
    assert all(one == steps for one in found)
    assert bool(found) == bool(steps)
    assert len(said) == failures


def test_averages_of_runs_do_not_overwrite_each_other() -> None:
    assert averages.file_names(["a/b"], 2) == ["average_2.ckpt"]
    assert averages.file_names(["a/b", "c"], 2) == ["average_2_a_b.ckpt", "average_2_c.ckpt"]
    assert len(set(averages.file_names(["a/b_c", "a_b/c", "A_b_c", "c"], 2))) == 4


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("runs=nowhere", "no such folder"),
        ("runs=[]", r"runs is \[\]; it accepts a folder, a glob or a list of these"),
        ("rank_by=accuracy", "rank_by is 'accuracy'; it accepts one of ap, ap50"),
        ("average_top=1", "average_top is 1; it accepts a whole number from 2, or null"),
        ("board_score=0.2", "belong to a submission"),
        ("precision=fp8", r"precision is 'fp8'; it accepts one of 32, tf32, 16-mixed, bf16-mixed"),
    ],
)
def test_bad_keys_are_refused_before_anything_is_done(
    override: str, sentence: str, make_run: Callable[..., Path], call: Callable[..., int], evaluated: list[str]
) -> None:
    run = make_run("one", steps=(4,))
    overrides = [override] if override.startswith("runs=") else [f"runs='{run}'", override]
    with pytest.raises(InputError, match=sentence):
        call(*overrides)
    assert evaluated == []


def _infos(run: Path) -> list[Path]:
    folder = run.parents[1] / "cache" / "evaluations"
    return [path for path in folder.glob("*.json") if path.with_suffix(".npz").exists()]
