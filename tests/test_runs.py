"""Runs are found however they are named, and read as far as they have come."""

from pathlib import Path

import pytest

from nucleiseg.errors import InputError
from nucleiseg.runs import find_runs, read_run


def make_run(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 3\noptim:\n  lr: 1.0e-05\n", encoding="utf-8")
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def names(*what: Path | str) -> list[str]:
    return [run.name for run in find_runs([str(place) for place in what])]


def test_a_run_is_read_as_far_as_it_has_come(tmp_path: Path) -> None:
    index = "step,path,val/ap50\n200,checkpoints/step_000200.ckpt,0.5\n"
    files = {"index_csv": index, "metrics_csv": "step,lr\n1,0.5\n2,0.2", "status_json": '{"state": "running"}'}
    run = read_run(make_run(tmp_path / "run", **files))
    assert run.config == {"seed": 3, "optim": {"lr": 1e-5}}
    assert run.checkpoints == [(200, tmp_path / "run" / "checkpoints" / "step_000200.ckpt")]
    assert (run.metrics, run.splits, run.status) == ([{"step": "1", "lr": "0.5"}], {}, {"state": "running"})


def test_a_folder_without_a_configuration_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.yaml"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("config.yaml", "a: [1", "is damaged"),
        ("config.yaml", "!!python/object/apply:os.getcwd []", "is damaged"),
        ("config.yaml", "- 1\n", "is damaged"),
        ("status.json", "{", "is not a JSON"),
        ("splits.json", "[]", "is damaged"),
    ],
)
def test_damaged_files_are_named(name: str, text: str, sentence: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=sentence) as caught:
        read_run(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["config.yaml", "index.csv"])
def test_files_that_are_no_text_are_named(name: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_bytes(b"\xff\xfe\xfa\n")
    with pytest.raises(InputError, match=name):
        read_run(folder)


def test_a_sweep_a_run_a_glob_and_a_list_each_once_in_natural_order(tmp_path: Path) -> None:
    for job in ("10_b", "2_a", "1_c"):
        make_run(tmp_path / "sweep" / job)
    make_run(tmp_path / "single")
    (tmp_path / "sweep" / ".hidden").mkdir()
    (tmp_path / "sweep" / "notes.txt").write_text("")
    sweep = tmp_path / "sweep"
    assert names(sweep) == ["1_c", "2_a", "10_b"]
    assert names(tmp_path) == ["single", "1_c", "2_a", "10_b"]
    assert names(sweep / "2_a") == ["2_a"]
    assert names(sweep / "*_[ab]") == ["2_a", "10_b"]
    assert names(sweep / "10_b", tmp_path / "s*", sweep / "*") == ["10_b", "single", "1_c", "2_a"]


def test_a_glob_in_a_folder_whose_name_looks_like_one(tmp_path: Path) -> None:
    root = tmp_path / "Jörg's [runs], a=1 (2) ü"
    for job in ("a1", "a2"):
        make_run(root / job)
    assert names(root) == names(root / "a*") == ["a1", "a2"]
    assert find_runs(str(root / "a2"))[0].folder == (root / "a2").resolve()


def test_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path / "runs" / "one")
    monkeypatch.chdir(tmp_path)
    assert names("runs/o*") == names("runs") == names("runs/one") == ["one"]
    monkeypatch.chdir(tmp_path / "runs" / "one")
    assert names(".") == ["one"]


def test_runs_of_one_name_are_distinguished_by_their_parent_folders(tmp_path: Path) -> None:
    for place in ("a/x/run", "b/x/run", "b/other"):
        make_run(tmp_path / place)
    assert names(tmp_path) == ["a/x/run", "other", "b/x/run"]


def test_what_does_not_exist_or_holds_no_run(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.ckpt").write_text("")
    with pytest.raises(InputError, match="no such folder"):
        names(tmp_path / "missing" / "*")
    for place in ("empty", "file.ckpt"):
        with pytest.raises(InputError, match="there is no run in it"):
            names(tmp_path / place)


@pytest.mark.parametrize("row", ["\0\0\0", "two,checkpoints/step_000002.ckpt", "²,a", "2", "2,\0\0"])
def test_a_damaged_row_of_the_index_is_named(row: str, tmp_path: Path) -> None:
    make_run(tmp_path / "bad", index_csv=f"step,path\n1,checkpoints/step_000001.ckpt\n{row}\n")
    make_run(tmp_path / "good", metrics_csv="step,time/step\n\0\0,\0\n")
    said: list[str] = []
    assert [run.name for run in find_runs(str(tmp_path), said.append)] == ["good"]
    assert "index.csv, line 3 is damaged" in said[0]
    assert "metrics.csv, line 2 is damaged" in said[1], "its checkpoints are ranked all the same"


def test_a_damaged_run_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    make_run(tmp_path / "good")
    make_run(tmp_path / "bad", status_json="{")
    said: list[str] = []
    assert [run.name for run in find_runs(str(tmp_path), said.append)] == ["good"]
    assert len(said) == 1
    assert "status.json" in said[0]
    with pytest.raises(InputError, match="is not a JSON"):
        names(tmp_path)
