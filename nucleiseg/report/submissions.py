"""Record submissions to a board in `submissions.csv`: the file, its local score, and the score that the board returned.

    record_submission(Path("submissions.csv"), Path("answer.zip"), board_score=0.2446)

There is one row for each answer, identified by the digest of its `answer.json`. People edit the file with spreadsheets,
so it is read with commas, semicolons (then with decimal commas) or tabs, with or without a byte order mark, with empty
lines and with additional columns, and written back in the same form.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

from nucleiseg.errors import InputError, raise_problems
from nucleiseg.files import quote_formula, require_regular_file, unquote_formula, write_text
from nucleiseg.leaderboard.best import source_digest
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.candidates import Scored
from nucleiseg.leaderboard.entries import metric_values
from nucleiseg.leaderboard.metrics import CEILING, MetricSpec
from nucleiseg.progress import say
from nucleiseg.writers.origin import answer_digest, read_origin

SUBMISSIONS = "submissions.csv"

UNKNOWN = {"", "-", "n/a", "not recorded"}
"""What people write into a cell whose number they don't know."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A row of `submissions.csv`; empty text and None stand for empty cells.

    Attributes:
        file: the answer's path, as it was given.
        answer_sha256: digest of `answer.json`, in the zip or beside it.
        run: name of the run's folder.
        step: optimizer steps done.
        checkpoint: its path, as it was given.
        checkpoint_sha256: digest of the checkpoint.
        config_digest: digest of the configuration (`writers.origin`).
        metric: key of the metric of `local_score`.
        local_score: the checkpoint's score on images with known truth.
        local_ceiling: the highest score possible on them, for a metric with a ceiling.
        image_set: digest of these images and their truth.
        images: number of these images.
        board_score: what the board returned.
        note: any text.
        time: when the row was added, in UTC, as ISO 8601.
        extra: additional columns of the user.
    """

    file: str = ""
    answer_sha256: str = ""
    run: str = ""
    step: int | None = None
    checkpoint: str = ""
    checkpoint_sha256: str = ""
    config_digest: str = ""
    metric: str = ""
    local_score: float | None = None
    local_ceiling: float | None = None
    image_set: str = ""
    images: int | None = None
    board_score: float | None = None
    note: str = ""
    time: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


COLUMNS = tuple(item.name for item in fields(Submission) if item.name != "extra")
"""The columns of the file, in its order."""

LOCAL = ("metric", "local_score", "local_ceiling", "image_set", "images")
"""The columns on the checkpoint's score on images with known truth."""

_HINTS = get_type_hints(Submission)
NUMBERS = {name: int if _HINTS[name] == int | None else float for name in COLUMNS if _HINTS[name] is not str}
"""The columns that hold numbers, with their types."""


@dataclass(frozen=True)
class CsvForm:
    """Form of the file: its delimiter, the byte order mark by which Excel recognizes UTF-8, the user's columns."""

    delimiter: str = ","
    mark: str = ""
    extra: tuple[str, ...] = ()

    @property
    def decimal(self) -> str:
        """The decimal sign: a comma where spreadsheets separate cells by semicolons."""
        return "," if self.delimiter == ";" else "."


def record_scored(
    path: Path,
    answer: Path,
    board_score: float | None,
    note: str,
    scored: Sequence[Scored],
    metric: MetricSpec,
    cache: EvaluationCache,
) -> None:
    """Record an answer with the local score of the checkpoint that made it, and print what was recorded.

    Args:
        path: the ledger.
        answer: an `answer.json`, or a zip that holds one.
        board_score: see `record_submission`.
        note: see `record_submission`.
        scored: the evaluated checkpoints, among which the answer's is searched.
        metric: of the local score.
        cache: stores the digests of files.

    Raises:
        InputError: see `record_submission`.
    """
    origin = read_origin(answer)
    digest = source_digest("" if origin is None else origin.checkpoint_sha256, cache)
    maker = {cache.digest(item.job.file): item for item in scored}.get(digest)
    local = None
    if maker is None:
        say(f"None of these checkpoints is known to have made {answer}: it is recorded without a local score.")
    else:
        record = maker.evaluation.record
        values = metric_values(record)
        if not math.isnan(score := values[metric.key]):
            ceiling = values[CEILING] if metric.has_ceiling else None
            local = Submission(
                metric=metric.key,
                local_score=score,
                local_ceiling=ceiling,
                image_set=maker.job.images.digest,
                images=len(record.images),
            )
    row = record_submission(path, answer, board_score, note, local)
    board = "without a score of the board" if row.board_score is None else f"with the board's score {row.board_score:g}"
    say(f"Recorded {answer} in {path} {board}.")


def record_submission(
    path: Path, answer: Path, board_score: float | None = None, note: str = "", local: Submission | None = None
) -> Submission:
    """Add an answer to the ledger, or complete its row.

    Args:
        path: the ledger; created if missing.
        answer: an `answer.json`, or a zip that holds one. Run and checkpoint are read from its sidecar; without one
            their cells stay empty.
        board_score: what the board returned for it; None leaves the cell as it is.
        note: replaces the row's note, unless empty.
        local: its `LOCAL` columns replace those of the row.

    Returns:
        The row as it is in the file now.

    Raises:
        InputError: if the ledger cannot be read, the answer or its sidecar is invalid, or the row has another score of
            the board already.
    """
    rows, form = read_ledger(path)
    digest = answer_digest(answer)
    places = [place for place, row in enumerate(rows) if row.answer_sha256 == digest]
    if len(places) > 1:
        raise InputError(
            f"{path} has {len(places)} rows of {answer} (answer_sha256 {digest[:12]}...): keep one of them."
        )
    if places:
        row = rows[places[0]]
    else:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = Submission(file=str(answer), answer_sha256=digest, time=now)
        if origin := read_origin(answer):
            names = ("step", "checkpoint", "checkpoint_sha256", "config_digest")
            row = replace(row, run=origin.run or "", **{name: getattr(origin, name) for name in names})
    if board_score is not None and row.board_score not in (None, board_score):
        raise InputError(
            f"{path} has the board's score {row.board_score:g} for {row.file}, which is not overwritten with "
            f"{board_score:g}. If the old score is wrong, empty its cell first."
        )
    if local is not None:
        row = replace(row, **{name: getattr(local, name) for name in LOCAL})
    row = replace(row, board_score=row.board_score if board_score is None else board_score, note=note or row.note)
    place = places[0] if places else len(rows)
    write_ledger(path, [*rows[:place], row, *rows[place + 1 :]], form)
    return row


def read_submissions(path: Path) -> list[Submission]:
    """Read the rows of a ledger; none if the file is missing.

    Raises:
        InputError: naming every line that cannot be read.
    """
    return read_ledger(path)[0]


def read_ledger(path: Path) -> tuple[list[Submission], CsvForm]:
    """Read the rows of a ledger and its form; no rows and the default form if the file is missing.

    Raises:
        InputError: naming every line that cannot be read.
    """
    if not path.exists():
        return [], CsvForm()
    require_regular_file(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line} is not in UTF-8: save it from the spreadsheet as 'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from error
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows: list[Submission] = []
    problems: list[str] = []
    lines = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter, restval="")
    try:
        header = [name.strip() for name in lines.fieldnames or ()]
        names = [name for name in header if name]  # spreadsheets leave names at the end empty
        if not {"answer_sha256", "board_score"}.issubset(names) or len(set(names)) < len(names):
            raise InputError(
                f"{path} is not a ledger of submissions: its first line must name the columns {', '.join(COLUMNS)}."
            )
        lines.fieldnames = header
        form = CsvForm(delimiter, "\ufeff" * text.startswith("\ufeff"), tuple(n for n in names if n not in COLUMNS))
        for cells in lines:
            where = f"{path}, line {lines.line_num}"
            if None in cells:
                count = len(header) + len(cells[None])
                problems.append(
                    f"{where} has {count} cells, the first line {len(header)}: quote a text with a comma, and write "
                    "numbers with a decimal point."
                )
            elif any(cell.strip() for cell in cells.values()):
                rows.append(_parse_row(cells, form, where, problems))
    except csv.Error as error:
        raise InputError(f"{path}, line {lines.reader.line_num} cannot be read as CSV ({error}).") from error
    raise_problems(problems)
    return rows, form


def _parse_row(cells: Mapping[str, str], form: CsvForm, where: str, problems: list[str]) -> Submission:
    """Return a row; a cell that should be a number and isn't becomes a problem."""
    values: dict[str, Any] = {name: unquote_formula(cells.get(name, "").strip()) for name in COLUMNS}
    for name, kind in NUMBERS.items():
        text, values[name] = values[name], None
        if text.lower() in UNKNOWN:
            continue
        try:
            value = float(text.replace(form.decimal, "."))
            if not math.isfinite(value) or (kind is int and value != int(value)):
                raise ValueError
            values[name] = kind(value)
        except ValueError:
            accepted = "a whole number such as 600" if kind is int else f"a number such as 0{form.decimal}2441"
            problems.append(f"{where}: {name} is {text!r}; it accepts {accepted}, or an empty cell.")
    return Submission(**values, extra={name: cells.get(name, "") for name in form.extra})


def write_ledger(path: Path, rows: Sequence[Submission], form: CsvForm) -> None:
    """Write a ledger, whole or not at all."""

    def cell(value: str | float | None) -> str:
        if isinstance(value, float):
            return repr(value).replace(".", form.decimal)
        return "" if value is None else quote_formula(str(value))

    text = io.StringIO()
    writer = csv.writer(text, delimiter=form.delimiter, lineterminator="\n")
    writer.writerow([*COLUMNS, *form.extra])
    for row in rows:
        own = (cell(getattr(row, name)) for name in COLUMNS)
        writer.writerow([*own, *(row.extra.get(name, "") for name in form.extra)])
    write_text(path, form.mark + text.getvalue())
