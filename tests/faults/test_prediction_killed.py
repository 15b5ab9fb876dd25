"""A prediction is killed at any moment: its folder holds one whole set or is refused, and resuming completes it."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import traceback
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nucleiseg.errors import InputError
from nucleiseg.inference.images import find_images
from nucleiseg.inference.predictor import PreparedImage
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.structures import Prediction
from nucleiseg.transforms.preprocessing import Preprocessing
from nucleiseg.writers import result_set
from nucleiseg.writers.journal import Journal
from nucleiseg.writers.origin import Origin, answer_digest, read_origin
from nucleiseg.writers.prediction_folder import predict_to_folder
from nucleiseg.writers.prediction_run import PredictionSummary

REQUEST = {"checkpoint": "abc", "nms": 0.5, "sizes": (1, 2)}


class CountingPredictor:
    """Finds a square as wide as the image is bright, and writes down which images it was given."""

    detections = 100
    score_threshold = 0.05
    metadata = Metadata(model={}, score_threshold=0.5)
    preprocessing = Preprocessing()

    def __init__(self, log: Path) -> None:
        self.log = log
        log.touch()

    def mpp_of(self, path: Path) -> None:
        return None

    def prepare(self, image: np.ndarray, mpp: float | None = None) -> PreparedImage:
        return PreparedImage(image, torch.empty(0), mpp)

    def run(self, image: PreparedImage) -> Prediction:
        level = int(image.pixels[0, 0, 0])
        with self.log.open("a") as handle:
            handle.write(f"{level}\n")
        return Prediction(
            boxes=torch.tensor([[1.0, 1, 2 + level, 9]]),
            scores=torch.tensor([0.9]),
            labels=torch.ones(1, dtype=torch.int64),
            masks=torch.ones(1, 14, 14),
            size=image.pixels.shape[:2],
        )

    @property
    def runs(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()]


def put(folder: Path, levels: dict[str, int]) -> Path:
    for name, level in levels.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 40, 3), level, dtype=np.uint8)).save(folder / name)
    return folder


def predict(images: Path, output: Path, log: Path, **keys: Any) -> PredictionSummary:  # noqa: ANN401
    keys = {"request": REQUEST, **keys}
    predictor: Any = CountingPredictor(log)
    return predict_to_folder(predictor, find_images(images), output, origin=origin_of, **keys)


def origin_of(summary: PredictionSummary, answer: Path) -> Origin:
    return Origin(
        checkpoint="c", checkpoint_sha256="abc", step=1, run=None, config_digest="d", weights="w", score_threshold=0.05,
        count_threshold=summary.count_threshold, nms=0.5, detections=100, scale=1.0, short=None, long=None,
        images=summary.done, results=summary.results, answer_sha256=answer_digest(answer), time="now",
    )  # fmt: skip


def results(folder: Path) -> dict[str, bytes]:
    """Return the visible files; of a zip, which holds times, what is in it."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(".") or path.is_dir():
            continue
        found[name] = zipfile.ZipFile(path).read("answer.json") if path.suffix == ".zip" else path.read_bytes()
    return found


def hidden(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


KEPT = {result_set.LOCK, result_set.MANIFEST}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process is killed in the middle of a Python call by forking")
def test_a_kill_before_any_operation_on_files_leaves_one_whole_set_or_is_noticed(tmp_path: Path) -> None:
    old = put(tmp_path / "old", {"a.png": 3, "gone.png": 4, "deep/gone.png": 5})
    new = put(tmp_path / "new", {"a.png": 7, "b.png": 8, "deep/c.png": 9})
    log = tmp_path / "log"
    predict(old, tmp_path / "first", log)
    predict(new, tmp_path / "second", log)
    before, after = results(tmp_path / "first"), results(tmp_path / "second")
    assert len(before) == len(after) == 8
    states, operation = {"old": 0, "refused": 0}, 0
    while True:
        output, log = tmp_path / "out", tmp_path / f"log_{operation}"
        shutil.copytree(tmp_path / "first", output)
        if not killed_before(operation, new, output, log):
            break
        operation += 1
        if (output / result_set.SWAP).exists():
            with pytest.raises(InputError, match="resume=true"):
                read_origin(output / "answer.json")
            states["refused"] += 1
        else:
            found = results(output)
            assert found == before, operation
            assert read_origin(output / "answer.json") is not None
            states["old"] += 1
        finished = len(journal_lines(output))
        first_runs = CountingPredictor(log).runs
        predict(new, output, log, resume=True)
        assert results(output) == after, operation
        assert hidden(output) == KEPT, operation
        assert len(CountingPredictor(log).runs) == len(first_runs) + (3 - finished), "none is computed twice"
        shutil.rmtree(output)
    assert results(output) == after
    assert states["old"] > 10
    assert states["refused"] > 10


def journal_lines(output: Path) -> list[bytes]:
    """Return the finished images of an unfinished prediction; all three where only its move is unfinished."""
    if not (output / result_set.STAGING).exists():
        done = (output / result_set.SWAP).exists() or b"deep/c" in (output / "counts.csv").read_bytes()
        return [b""] * (3 if done else 0)
    journal = output / result_set.STAGING / result_set.JOURNAL
    return journal.read_bytes().splitlines() if journal.exists() else []


def killed_before(operation: int, images: Path, folder: Path, log: Path) -> bool:
    """Predict in a forked process that dies by SIGKILL before its n-th operation on files of the folder.

    Returns:
        Whether it was killed; False if it ended before.
    """
    child = os.fork()
    if child == 0:
        count = iter(range(10**6))

        def kill(event: str, arguments: tuple[Any, ...]) -> None:
            changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "open")
            if changes and str(folder) in str(arguments[0]) and next(count) == operation:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            # torch makes its pool anew after a fork, at its first use: two threads at once may find it missing
            torch.set_num_threads(1)
            sys.addaudithook(kill)
            predict(images, folder, log)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the forked process printed its error"
    return os.WIFSIGNALED(status)


def test_a_killed_prediction_continues_with_what_is_unfinished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = put(tmp_path / "in", {"a.png": 3, "b.png": 4, "bad.png": 5, "c.png": 6})
    (images / "bad.png").write_bytes(b"damaged")
    output, log = tmp_path / "out", tmp_path / "log"
    stop_after(images, output, log, runs=2)
    assert not (output / "answer.json").exists()
    assert [path.name for path in (output / result_set.STAGING / "new/overlays").iterdir()] == ["a.png"]
    (output / result_set.STAGING / "new/overlays/.c.0123abcd.part.png").touch()  # a killed one's temporary file
    summary = predict(images, output, log, resume=True)
    assert "Resuming: 1 of 4 images are finished" in capsys.readouterr().err
    assert CountingPredictor(log).runs == [3, 4, 4, 6]
    assert (summary.done, summary.nuclei, list(summary.failed)) == (3, 3, ["bad.png"])
    assert sorted(path.name for path in (output / "overlays").iterdir()) == ["a.png", "b.png", "c.png"]
    assert [image["id"] for image in json.loads((output / "images.json").read_text())] == [1, 2, 4]
    again = predict(images, output, log, resume=True)
    assert "holds this prediction already" in capsys.readouterr().err
    assert again == summary
    assert len(CountingPredictor(log).runs) == 4


def stop_after(images: Path, output: Path, log: Path, runs: int) -> None:
    """Interrupt a prediction when the network gets its n-th image, at which the one before is written."""

    class Stopping(CountingPredictor):
        def run(self, image: PreparedImage) -> Prediction:
            if len(self.runs) == runs - 1:
                (output / result_set.STAGING / "new/overlays").mkdir(parents=True, exist_ok=True)
            prediction = super().run(image)
            if len(self.runs) == runs:
                raise KeyboardInterrupt
            return prediction

    predictor: Any = Stopping(log)
    first = find_images(images)
    with pytest.raises(KeyboardInterrupt):
        predict_to_folder(predictor, first, output, request=REQUEST, origin=origin_of)


def test_a_missing_overlay_is_rendered_again(tmp_path: Path) -> None:
    images = put(tmp_path / "in", {"a.png": 3, "b.png": 4})
    output, log = tmp_path / "out", tmp_path / "log"
    stop_after(images, output, log, runs=2)
    overlay = output / result_set.STAGING / "new/overlays/a.png"
    overlay.unlink()
    predict(images, output, log, resume=True)
    assert CountingPredictor(log).runs == [3, 4, 3, 4]
    assert (output / "overlays/a.png").exists()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"request": {**REQUEST, "checkpoint": "xyz"}}, "checkpoint was 'abc' and is 'xyz'"),
        ({"count_threshold": 0.7}, "count_threshold was 0.5 and is 0.7"),
        ({"overlays": False}, r"write was \['coco', 'overlays'\] and is \['coco'\]"),
        ("touched", r"1 image changed, came or went \(b\)"),
        ("added", r"1 image changed, came or went \(c\)"),
    ],
)
def test_another_prediction_is_not_continued(tmp_path: Path, change: Any, sentence: str) -> None:  # noqa: ANN401
    images = put(tmp_path / "in", {"a.png": 3, "b.png": 4})
    output, log = tmp_path / "out", tmp_path / "log"
    stop_after(images, output, log, runs=2)
    if change == "touched":
        os.utime(images / "b.png", (1, 1))
    elif change == "added":
        put(images, {"c.png": 9})
    with pytest.raises(InputError, match=f"^resume=true cannot continue .*{sentence}.* leave out resume=true"):
        predict(images, output, log, resume=True, **(change if isinstance(change, dict) else {}))
    assert len(journal_lines(output)) == 1, "nothing is lost by the refusal"


def test_a_new_prediction_sweeps_an_unfinished_one_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = put(tmp_path / "in", {"a.png": 3, "b.png": 4})
    output, log = tmp_path / "out", tmp_path / "log"
    stop_after(images, output, log, runs=2)
    (images / "a.png").unlink()
    predict(images, output, log)
    assert "Removing the unfinished prediction" in capsys.readouterr().err
    assert CountingPredictor(log).runs == [3, 4, 4]
    assert hidden(output) == KEPT
    assert [path.name for path in (output / "overlays").iterdir()] == ["b.png"]


def test_overlays_of_images_that_are_gone_go_and_a_users_files_stay(tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    predict(put(tmp_path / "one", {"a.png": 3, "deep/b.png": 4}), output, log)
    (output / "overlays/mine.png").touch()
    predict(put(tmp_path / "two", {"c.png": 3}), output, log)
    assert sorted(path.name for path in (output / "overlays").iterdir()) == ["c.png", "mine.png"]
    predict(tmp_path / "two", output, log, overlays=False)
    assert [path.name for path in (output / "overlays").iterdir()] == ["mine.png"]


def test_a_manifest_from_elsewhere_removes_nothing_outside(tmp_path: Path) -> None:
    output, log = tmp_path / "out", tmp_path / "log"
    images = put(tmp_path / "in", {"a.png": 3})
    (tmp_path / "keep.png").touch()
    output.mkdir()
    (output / "notes.txt").touch()
    files = ["../keep.png", "overlays/../../keep.png", str(tmp_path / "keep.png"), "notes.txt", 3]
    for content in (json.dumps({"files": files}), "[", "[1]", '{"files": {}}'):
        (output / result_set.MANIFEST).write_text(content)
        predict(images, output, log)
        assert (tmp_path / "keep.png").exists()
        assert (output / "notes.txt").exists()


def test_a_second_prediction_into_the_folder_is_refused(tmp_path: Path) -> None:
    images = put(tmp_path / "in", {"a.png": 3})
    with (
        result_set.locked(tmp_path / "out"),
        pytest.raises(InputError, match=r"Another prediction into output=.* is running"),
    ):
        predict(images, tmp_path / "out", tmp_path / "log")
    predict(images, tmp_path / "out", tmp_path / "log")
    assert (tmp_path / "out/answer.json").exists()


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    script = f"""
        import os
        from pathlib import Path
        from nucleiseg.writers.result_set import locked
        with locked(Path({str(tmp_path)!r})):
            print("locked", flush=True)
            input()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline().strip() == b"locked"
    with pytest.raises(InputError, match="is running"), result_set.locked(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with result_set.locked(tmp_path):
        pass


def test_a_folder_where_a_result_goes_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    images, log = put(tmp_path / "in", {"a.png": 3}), tmp_path / "log"
    (tmp_path / "out" / "counts.csv").mkdir(parents=True)
    (tmp_path / "out" / "overlays").touch()
    with pytest.raises(InputError, match=r"counts\.csv, overlays there is a folder where a file will be"):
        predict(images, tmp_path / "out", log)
    assert CountingPredictor(log).runs == []


def test_a_file_that_cannot_be_replaced_is_named_and_resuming_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, log, output = put(tmp_path / "in", {"a.png": 3}), tmp_path / "log", tmp_path / "out"
    replace = Path.replace

    def locked_by_a_spreadsheet(source: Path, target: Path) -> Path:
        if source.parent.name == "new" and source.name == "counts.csv":
            raise PermissionError(13, "Permission denied", str(source), None, str(target))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", locked_by_a_spreadsheet)
    with pytest.raises(InputError, match=r"counts\.csv cannot be replaced .* close the program .* resume=true"):
        predict(images, output, log)
    monkeypatch.undo()
    with pytest.raises(InputError, match="was interrupted while it replaced an older one"):
        read_origin(output / "answer.json")
    predict(images, output, log, resume=True)
    assert CountingPredictor(log).runs == [3]
    assert hidden(output) == KEPT


def test_a_full_disk_names_the_file_and_costs_no_finished_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, log, output = put(tmp_path / "in", {"a.png": 3, "b.png": 4, "c.png": 5}), tmp_path / "log", tmp_path / "out"
    predict(images, output, log)
    before, append = results(output), Journal.append

    def full(journal: Journal, key: str, **values: Any) -> None:  # noqa: ANN401
        if key == "b":
            monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
        append(journal, key, **values)

    monkeypatch.setattr(Journal, "append", full)
    with pytest.raises(OSError, match="No space left") as error:
        predict(images, output, log, overlays=False)
    monkeypatch.undo()
    assert str(error.value.filename).endswith(result_set.JOURNAL)
    assert results(output) == before
    predict(images, output, log, overlays=False, resume=True)
    assert not (output / "overlays").exists()
    assert CountingPredictor(log).runs[3:].count(3) == 1, "the one that was finished is not computed again"
