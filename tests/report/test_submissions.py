"""The ledger of submissions: recording, forms in which spreadsheets write it, errors."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucleiseg.errors import InputError
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.report.submission_ledger import COLUMNS, CsvForm, Submission, read_ledger, read_submissions, write_ledger
from nucleiseg.report.submissions import record_submission
from nucleiseg.writers.origin import CheckpointOrigin, Origin, answer_digest, write_origin

HEADER = ",".join(COLUMNS)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "submissions.csv"


def make_answer(folder: Path, image_id: int = 1) -> Path:
    """Write an answer with its sidecar; a checkpoint of step 600 in a run called r50_c4."""
    checkpoint = folder / "r50_c4" / "checkpoints" / "step_000600.ckpt"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.write_bytes(b"weights")
    answer = folder / f"out, {image_id}" / "answer.json"
    answer.parent.mkdir()
    answer.write_text(json.dumps([{"image_id": image_id}]))
    made_by = CheckpointOrigin.of(checkpoint, Metadata(model={}, step=600))
    used = {"score_threshold": 0.05, "count_threshold": 0.5, "nms": 0.5, "detections": 500, "images": 1, "results": 1}
    origin = Origin(**vars(made_by), **used, scale=1.0, short=None, long=None, answer_sha256=answer_digest(answer))
    write_origin(answer.parent, origin)
    return answer


def local_score(
    metric: str, score: float, ceiling: float | None = None, image_set: str = "", images: int | None = None
) -> Submission:
    return Submission(metric=metric, local_score=score, local_ceiling=ceiling, image_set=image_set, images=images)


def test_a_submission_is_recorded_and_completed_with_the_score_of_the_board(ledger: Path, tmp_path: Path) -> None:
    answer = make_answer(tmp_path)
    row = record_submission(ledger, answer, local=local_score("ap50_100", 0.1666, 0.1719, "f00d", 5))
    assert (row.image_set, row.images) == ("f00d", 5)
    assert (row.run, row.step, row.metric, row.local_score, row.local_ceiling) == (
        "r50_c4", 600, "ap50_100", 0.1666, 0.1719,
    )  # fmt: skip
    assert row.checkpoint.endswith("step_000600.ckpt")
    assert row.board_score is None
    assert read_submissions(ledger) == [row]
    other = record_submission(ledger, make_answer(tmp_path, 2))
    done = record_submission(ledger, answer, 0.244597, note='the "best", so far')
    assert done == replace(row, board_score=0.244597, note='the "best", so far')
    assert read_submissions(ledger) == [done, other]
    assert record_submission(ledger, answer, 0.244597) == done, "the same again changes nothing"
    assert record_submission(ledger, answer, local=local_score("pq", 0.5)) == replace(
        done, metric="pq", local_score=0.5, local_ceiling=None, image_set="", images=None
    )


def test_another_score_of_the_board_is_not_overwritten(ledger: Path, tmp_path: Path) -> None:
    answer = make_answer(tmp_path)
    record_submission(ledger, answer, 0.0)
    before = ledger.read_bytes()
    with pytest.raises(InputError, match=r"score 0 for .*answer\.json, which is not overwritten with 0\.25"):
        record_submission(ledger, answer, 0.25)
    assert ledger.read_bytes() == before


def test_an_answer_of_another_tool_is_identified_by_its_digest(ledger: Path, tmp_path: Path) -> None:
    answer = tmp_path / "theirs.json"
    answer.write_text("[]")
    row = record_submission(ledger, answer, 0.2)
    assert (row.file, row.run, row.step, row.board_score) == (str(answer), "", None, 0.2)
    assert row.answer_sha256 == answer_digest(answer)


def test_the_sidecar_of_another_answer_records_nothing(ledger: Path, tmp_path: Path) -> None:
    answer = make_answer(tmp_path)
    answer.write_text("[]")
    with pytest.raises(InputError, match="is the sidecar of another answer"):
        record_submission(ledger, answer)
    assert not ledger.exists()


def test_two_rows_of_one_answer_are_ambiguous(ledger: Path, tmp_path: Path) -> None:
    answer = make_answer(tmp_path)
    row = record_submission(ledger, answer)
    write_ledger(ledger, [row, row], CsvForm())
    with pytest.raises(InputError, match=r"has 2 rows of .* keep one of them"):
        record_submission(ledger, answer, 0.2)


TEXT = st.text(st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(' ,;"\n'), max_size=8).map(str.strip)
NUMBER = st.none() | st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.builds(
    Submission,
    **dict.fromkeys(("file", "run", "note"), TEXT),
    answer_sha256=st.text("0123456789abcdef", min_size=1, max_size=8),
    step=st.none() | st.integers(0, 10**9),
    local_score=NUMBER,
    board_score=NUMBER,
    extra=st.fixed_dictionaries({"mood": TEXT}),
)
FORMS = st.builds(
    CsvForm, delimiter=st.sampled_from(",;\t"), mark=st.sampled_from(["", "\ufeff"]), extra=st.just(("mood",))
)


@settings(deadline=None, max_examples=40)
@given(st.lists(ROWS, max_size=4), FORMS)
def test_a_file_is_read_as_it_was_written_in_every_form(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Submission], form: CsvForm
) -> None:
    path = tmp_path_factory.getbasetemp() / "ledger.csv"
    write_ledger(path, rows, form)
    assert read_ledger(path) == (rows, form)


def test_a_german_excel_keeps_its_form(ledger: Path, tmp_path: Path) -> None:
    answer = make_answer(tmp_path)
    digest = answer_digest(answer)
    lines = (
        "answer_sha256;Name;board_score;step;note;;",
        "ffff;Käthe;0,2346;1200;;;",
        f"{digest};Jörg;;600;a;;",
        ";;;;;;",
    )
    ledger.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    first, second = read_submissions(ledger)
    assert (first.board_score, first.step, first.extra) == (0.2346, 1200, {"Name": "Käthe"})
    assert (second.board_score, second.note) == (None, "a")
    record_submission(ledger, answer, 0.2441)
    assert ledger.read_bytes().startswith(b"\xef\xbb\xbffile;answer_sha256")
    assert ";0,2441;" in ledger.read_text(encoding="utf-8")
    assert [row.extra["Name"] for row in read_submissions(ledger)] == ["Käthe", "Jörg"]
    assert [row.board_score for row in read_submissions(ledger)] == [0.2346, 0.2441]


@pytest.mark.parametrize("text", ["", "-", "n/a", "Not recorded"])
def test_a_score_that_nobody_wrote_down(ledger: Path, text: str) -> None:
    ledger.write_text(f"answer_sha256,board_score\nff,{text}\n")
    assert [row.board_score for row in read_submissions(ledger)] == [None]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("ff,0,2441,\n", r"line 2 has 4 cells, the first line 3: quote a text with a comma"),
        ('aa,0.1,\nff,"0,2441",\n', r"line 3: board_score is '0,2441'; it accepts a number such as 0\.2441, or an"),
        ("ff,nan,\n", r"line 2: board_score is 'nan'"),
        ("ff,0.2,1.5\n", r"line 2: step is '1\.5'; it accepts a whole number such as 600"),
        ("ff,0.2,\nK\xf6ln,0.2,\n", r"line 3 is not in UTF-8"),
        (f"ff,0.2,\n{'x' * 200_000},0.2,\n", r"line 3 cannot be read as CSV \(field larger"),
    ],
)
def test_what_cannot_be_understood_is_named_by_its_line(ledger: Path, content: str, sentence: str) -> None:
    ledger.write_bytes(f"answer_sha256,board_score,step\n{content}".encode("latin-1"))
    with pytest.raises(InputError, match=rf"submissions\.csv, {sentence}"):
        read_submissions(ledger)


def test_every_bad_line_is_named(ledger: Path) -> None:
    ledger.write_text("answer_sha256,board_score\na,x\nb,0.1\nc,y\n")
    with pytest.raises(InputError) as caught:
        read_submissions(ledger)
    assert [problem.partition(":")[0].rpartition(" ")[2] for problem in caught.value.problems] == ["2", "4"]


@pytest.mark.parametrize("header", ["", "image,count\n", "answer_sha256,board_score,board_score\n"])
def test_another_file_is_refused(ledger: Path, header: str) -> None:
    ledger.write_text(header)
    with pytest.raises(InputError, match="is not a ledger of submissions: its first line must name the columns file"):
        read_submissions(ledger)


def test_a_missing_file_and_a_folder(ledger: Path) -> None:
    assert read_submissions(ledger) == []
    ledger.mkdir()
    with pytest.raises(InputError, match=r"submissions\.csv is a folder, not a regular file"):
        read_submissions(ledger)
