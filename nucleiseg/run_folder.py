"""The files of a run's folder: their names, and validated reading.

    config = read_config(Path("runs/a"))     # errors name the file and the line

    config.yaml    the configuration          splits.json   which images train, which validate
    metrics.csv    a row for each step        index.csv     a row for each step checkpoint
    status.json    how far the run is         tracked.json  where a tracker keeps it
    .lock          held while a process trains in the folder
    checkpoints/   step_000200.ckpt ... (weights), last.ckpt and previous.ckpt (the newest two states to resume from)

A run's folder may be of unknown origin: paths in its files must not leave the folder, and the size of files is bounded.
`nucleiseg.run_tables` reads the tables.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from nucleiseg.errors import InputError
from nucleiseg.files import require_regular_file
from nucleiseg.foreign_files import read_json
from nucleiseg.renamed_keys import with_current_names

CONFIG = Path("config.yaml")
"""The configuration, written before the first step; it identifies a folder as a run."""

SPLITS = Path("splits.json")
"""Training and validation images, with the fingerprint of the data."""

STATUS = Path("status.json")
"""State and progress of the run, and why it ended."""

METRICS = Path("metrics.csv")
"""A row for each step."""

INDEX = Path("index.csv")
"""A row for each step checkpoint."""

TRACKED = Path("tracked.json")
"""Ids of the run in W&B and MLflow, by which a resumed run continues there."""

LOCK = Path(".lock")
"""Locked by the operating system while a process trains in the folder; a leftover file has no effect."""

CHECKPOINTS = Path("checkpoints")
"""The folder of all checkpoints."""

LAST = CHECKPOINTS / "last.ckpt"
"""The newest state to resume from: weights, optimizer, schedule, loop."""

PREVIOUS = CHECKPOINTS / "previous.ckpt"
"""The state before `LAST`, in case that `LAST` is damaged."""

GROUPS = ("data", "aug", "model", "optim", "trainer", "checkpoint", "validation")
"""The groups of `config.yaml`, each a mapping."""

LARGEST_CONFIG = 1 << 18
"""Most bytes of a `config.yaml`, which has some 6,000; YAML takes seconds to read more."""


class _Splits(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]

    train: list[str]
    val: list[str]
    fingerprint: str


class _Status(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]

    state: str
    steps: Annotated[int, Field(ge=0)]
    of: Any  # unvalidated, if the run was refused
    started: str
    updated: str
    device: str
    peak_memory_mb: FiniteFloat | None
    pid: int
    host: str
    reason: str


class _Tracked(TypedDict, total=False):
    __pydantic_config__ = ConfigDict(extra="allow", strict=True)  # type: ignore[misc]

    loggers: dict[str, str]


_SCHEMAS: Mapping[Path, TypeAdapter[Any]] = {
    SPLITS: TypeAdapter(_Splits),
    STATUS: TypeAdapter(_Status),
    TRACKED: TypeAdapter(_Tracked),
}


class _ConfigLoader(yaml.SafeLoader):
    """YAML as OmegaConf writes and reads it, without aliases, a few of which can expand to gigabytes."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        """Refuse an alias."""
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not accepted", self.peek_event().start_mark)
        return super().compose_node(parent, index)


_ConfigLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_ConfigLoader.add_implicit_resolver(  # 1e-5 is a number; YAML 1.1 requires 1.0e-5
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"), list("-+0123456789.")
)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration with one dotted key for each value; an empty group is a value.

    >>> flatten({"model": {"name": "r50_c4", "rpn": {"nms": 0.7}}})
    {'model.name': 'r50_c4', 'model.rpn.nms': 0.7}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def holds_run(run_dir: Path) -> bool:
    """Return whether the folder contains a run with at least one step; one without can be started again."""
    return any((run_dir / name).exists() for name in (METRICS, INDEX, LAST, PREVIOUS))


def read_config(run_dir: Path) -> dict[str, Any]:
    """Read `config.yaml`.

    Raises:
        InputError: if it is missing, damaged, has aliases or tags of Python, or a group is not a mapping.
    """
    path = run_dir / CONFIG
    if require_regular_file(path) > LARGEST_CONFIG:
        raise InputError(f"{path} is larger than {LARGEST_CONFIG} bytes: it is not the configuration of a run.")
    text = read_text(path)
    try:
        config = yaml.load(text, _ConfigLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}{where} is damaged ({reason}): restore it, or start a new run.") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged (it holds no mapping of keys): restore it, or start a new run.")
    problems = [
        f"{path} is damaged ({name} is {str(config[name])[:50]!r}, not a mapping of keys): restore it."
        for name in GROUPS
        if name in config and not isinstance(config[name], dict)
    ]
    problems += [
        f"{path} is damaged (the key {key!r} is not text): restore it." for key in config if not isinstance(key, str)
    ]
    if problems:
        raise InputError(problems)
    return with_current_names(config)


def read_splits(run_dir: Path) -> dict[str, Any]:
    """Read `splits.json`: `train` and `val` (names of images) and `fingerprint`; empty if it is missing.

    Raises:
        InputError: if it is damaged.
    """
    return _read_checked(run_dir, SPLITS)


def read_status(run_dir: Path) -> dict[str, Any]:
    """Read `status.json`; empty if it is missing.

    Raises:
        InputError: if it is damaged.
    """
    return _read_checked(run_dir, STATUS)


def known_status(run_dir: Path) -> dict[str, Any]:
    """Return `status.json`; empty if it cannot be read, since the run writes it again."""
    with suppress(InputError):
        return read_status(run_dir)
    return {}


def read_tracked(run_dir: Path) -> dict[str, Any]:
    """Read `tracked.json`: under `loggers` the class of each tracker and the run's id there; empty if it is missing.

    Raises:
        InputError: if it is damaged.
    """
    return _read_checked(run_dir, TRACKED)


def require_inside(run_dir: Path, path: str | Path) -> Path:
    """Return a path of a run's folder, symbolic links resolved.

    Args:
        run_dir: the run's folder; it may be a symbolic link.
        path: relative to it.

    Raises:
        InputError: if the path leads out of the folder.
    """
    try:
        found = (run_dir / path).resolve()
        is_inside = found.is_relative_to(run_dir.resolve())
    except (OSError, RuntimeError) as error:  # links in a circle
        raise InputError(f"{run_dir / path} cannot be followed ({error}): remove that link.") from error
    if not is_inside:
        raise InputError(
            f"{run_dir / path} leads out of the run's folder, to {found}: a run only reads and deletes files of its "
            "own folder. Replace the link by its target (to keep a run on another disk, link its whole folder)."
        )
    return found


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark.

    Raises:
        InputError: if it is not a regular file, cannot be read, or is not text.
    """
    require_regular_file(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line} is damaged (it is not text in UTF-8): restore the file.") from error


def _read_checked(run_dir: Path, name: Path) -> dict[str, Any]:
    """Read a JSON file and validate it by its schema; empty if it is missing."""
    path = run_dir / name
    if not path.exists() and not path.is_symlink():
        return {}
    require_regular_file(path)
    value = read_json(path)
    try:
        return dict(_SCHEMAS[name].validate_python(value))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "its content"
        raise InputError(f"{path} is damaged ({key}: {first['msg']}): restore it.") from error
    except RecursionError as error:
        raise InputError(f"{path} is damaged (nested too deeply): restore it.") from error
