"""A run's folder from somebody else: what its files say stays in the folder, and damage is a sentence with a line."""

import json
import time
from pathlib import Path

import pytest
from tiny import TinyNetwork, train_tiny

from nucleiseg.cli.resume import resume
from nucleiseg.errors import InputError
from nucleiseg.run_folder import read_config, read_splits, read_status
from nucleiseg.run_tables import find_checkpoint, read_index, read_metrics
from nucleiseg.runs import find_runs, read_run

HEADER = "step,path,train/loss,val/ap50\n"
FIRST = "1,checkpoints/step_000001.ckpt,0.5,0.25\n"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../victim.txt",
        "checkpoints/../../victim.txt",
        "checkpoints/step_000002.ckpt/../../../victim.txt",
        "config.yaml",
        "checkpoints/last.ckpt",
        "checkpoints\\step_000002.ckpt",
        "C:\\victim.txt",
        "checkpoints/step_000003.ckpt",
        "checkpoints/step_000002.ckpt\0",
        "",
    ],
)
def test_an_index_names_step_checkpoints_of_its_run_alone(tmp_path: Path, path: str) -> None:
    (tmp_path / "index.csv").write_text(f"{HEADER}{FIRST}2,{path},0.5,0.5\n")
    for reading in (read_index, find_checkpoint):
        with pytest.raises(InputError, match=r"index\.csv, line 3 is damaged \(path is"):
            reading(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1 is damaged .it is empty"),
        (HEADER, "line 2 is damaged .there is no row"),
        (HEADER + FIRST[:-3], "line 2 is damaged .it is cut off"),
        (HEADER[:7], "line 1 is damaged .it is cut off"),
        ("a;b;c\n1;2;3\n", "line 1 is damaged .the columns are 'a;b;c'"),
        ("step,step,path\n1,1,a\n", "line 1 is damaged .the columns are"),
        (HEADER + FIRST + FIRST, "line 3 is damaged .step 1 follows step 1"),
        (HEADER + "1.5" + FIRST[1:], "line 2 is damaged .step is '1.5'"),
        (HEADER + "-1" + FIRST[1:], "line 2 is damaged .step is '-1'"),
        (HEADER + "0" + FIRST[1:], "line 2 is damaged .step is '0'"),
        (HEADER + "9" * 99 + FIRST[1:], "line 2 is damaged .step is '999"),
        (HEADER + FIRST.replace("0.25", "nan"), "line 2 is damaged .val/ap50 is 'nan', not a number from 0 to 1"),
        (HEADER + FIRST.replace("0.25", "7"), "line 2 is damaged .val/ap50 is '7', not a number from 0 to 1"),
        (HEADER + FIRST.replace("0.5", "1e999"), "line 2 is damaged .train/loss is '1e999', not a finite number"),
        (HEADER + FIRST.replace("0.5", "=1+1"), "line 2 is damaged .train/loss is '=1"),
        (HEADER + FIRST.replace("0.25", "0.25,more"), "line 2 is damaged .it does not have the 4 cells"),
        (HEADER + '1,"' + "x" * 200_000 + '"\n', "is damaged .field larger than field limit"),
    ],
)
def test_a_damaged_index_is_a_sentence_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "index.csv").write_text(text)
    with pytest.raises(InputError, match=reason):
        read_index(tmp_path)


def test_tables_that_are_no_text(tmp_path: Path) -> None:
    for name, reading in (("index.csv", read_index), ("metrics.csv", read_metrics)):
        (tmp_path / name).write_bytes(HEADER.encode() + b"\xff\xfe\x00\n")
        with pytest.raises(InputError, match=f"{name}, line 2 is damaged .it is not text"):
            reading(tmp_path)


def test_tables_that_people_saved_again_are_read(tmp_path: Path) -> None:
    """With a byte order mark, Windows' line ends and a column of their own, as from a spreadsheet."""
    (tmp_path / "index.csv").write_bytes("\ufeffstep,path,note\r\n1,checkpoints/step_000001.ckpt,good\r\n".encode())
    assert read_index(tmp_path)[0]["note"] == "good"


def test_the_rows_of_metrics_before_damage_are_used(tmp_path: Path) -> None:
    text = "step,lr,train/loss\n1,0.1,nan\n2,0.1,inf\nthree,0.1,1\n4,0.1,1\n"
    (tmp_path / "metrics.csv").write_text(text)
    told: list[str] = []
    assert [row["step"] for row in read_metrics(tmp_path, report=told.append)] == ["1", "2"]
    assert "metrics.csv, line 4 is damaged" in told[0]
    assert len(read_metrics(tmp_path, until=2)) == 2, "what follows is written again"
    with pytest.raises(InputError, match="line 4"):
        read_metrics(tmp_path)


CONFIGS = {
    "a tag of Python": b'x: !!python/object/apply:os.mkdir ["ran"]',
    "nothing": b"",
    "cut": b"model: {",
    "another type": b"data: 1",
    "a list": b"- 1\n- 2",
    "no text": bytes(range(256)),
    "nested too deeply": b"a: " + b"[" * 20_000,
    "an alias": b"a: &a [1, 2]\nb: *a",
    "a loop": b"a: &a [*a, *a]",
    "larger than any": b"a: 1\n" * 100_000,
    "a key that is a number": b"1: 2",
}
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


@pytest.mark.parametrize("name", [*CONFIGS, "a bomb"])
def test_a_damaged_configuration_is_a_sentence(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_bytes(CONFIGS.get(name, BOMB.encode()))
    start = time.process_time()  # unlike the clock, it does not depend on the load of the machine
    for reading in (read_config, read_run, lambda folder: resume([f"resume={folder}"])):
        with pytest.raises(InputError, match=r"config\.yaml(, line \d+)? is (damaged|larger)"):
            reading(tmp_path)
    assert time.process_time() - start < 60, "an expanded bomb would take hours"
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"], "nothing was run or written"


def test_a_configuration_without_a_group_is_not_resumed(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("data: {}\nseed: 1\n")
    with pytest.raises(InputError, match=r"config\.yaml is damaged .without aug, model, optim"):
        resume([f"resume={tmp_path}"])


@pytest.mark.parametrize("name", ["status.json", "splits.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b"\xff\xff", b"[" * 100_000, b'{"state": 1, "train": 1}', b'{"steps": -1, "val": [1]}'],
)
def test_damaged_json_is_a_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        read_run(tmp_path)


def test_numbers_of_the_status_are_finite(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"peak_memory_mb": 1e999}')
    with pytest.raises(InputError, match=r"status\.json"):
        read_status(tmp_path)


def test_a_damaged_status_does_not_keep_a_run_from_resuming(tmp_path: Path) -> None:
    train_tiny(tmp_path, 2)
    (tmp_path / "status.json").write_bytes(b"[" * 100_000)
    train_tiny(tmp_path, 4, resume=True)
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "done"


def test_links_that_lead_out_of_the_folder(tmp_path: Path) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    train_tiny(run, 4)
    (run / "checkpoints").rename(outside)
    (run / "checkpoints").symlink_to(outside, target_is_directory=True)
    for reading in (read_index, find_checkpoint, lambda folder: train_tiny(folder, 6, resume=True)):
        with pytest.raises(InputError, match="leads out of the run's folder"):
            reading(run)
    names = {"last.ckpt", "previous.ckpt", "step_000002.ckpt", "step_000004.ckpt"}
    assert {path.name for path in outside.iterdir()} == names, "nothing out there was deleted"


def test_a_link_to_a_whole_run_is_resumed(tmp_path: Path) -> None:
    train_tiny(tmp_path / "elsewhere", 2)
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    train_tiny(tmp_path / "run", 4, resume=True)
    assert len(read_index(tmp_path / "run")) == 2


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("seed: 1\n")
    for name in ("a", "b", "c"):
        (tmp_path / "runs" / name).symlink_to(tmp_path / "runs", target_is_directory=True)
    (tmp_path / "runs" / "self").symlink_to("self")
    assert [found.name for found in find_runs(str(tmp_path / "runs"))] == ["one"]
    (run / "splits.json").symlink_to("splits.json")
    with pytest.raises(InputError, match=r"splits\.json cannot be read"):
        read_splits(run)


def test_an_index_that_lost_its_rows_does_not_cost_checkpoints(tmp_path: Path) -> None:
    train_tiny(tmp_path, 6)
    index = tmp_path / "index.csv"
    rows = index.read_text().splitlines(keepends=True)
    for text in ("".join(rows[:2]), None):
        index.unlink() if text is None else index.write_text(text)
        with pytest.raises(InputError, match=r"index\.csv ends at step \d, but there are checkpoints of step"):
            train_tiny(tmp_path, 8, resume=True, network=TinyNetwork())
    assert len(list((tmp_path / "checkpoints").glob("step_*"))) == 3
