"""What tells runs apart: a digest of the settings that change results, and a name of those that differ."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from nucleiseg.runs import Run

HEADS = {"data": "data.reader", "aug": None, "model": "model.name", "optim": "optim.name", "trainer": None}
"""The groups of the configuration that change results, and the key that stands for all of a group: below another model
name other keys differ too, which the name already says."""

WITHOUT_EFFECT = {
    "data.fold",  # seeds and folds of a setting belong together, as `data.split`
    "data.folds",
    "data.root",  # a place; which images lie there, the split tells
    "data.cache_dir",
    "data.workers",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.log_every",
    "trainer.devices",  # with the number of nodes as `processes`
    "trainer.num_nodes",
}
"""Keys of these groups that leave a result as it is, up to rounding."""

FOLLOWS = {"optim.total_steps": "trainer.max_steps"}
"""Keys that need no words where they are equal to another."""


class Setting(NamedTuple):
    """What the seeds and folds of a setting have in common.

    Attributes:
        name: the model, then what differs between the settings, in words: "r50_c4, saturation 0.5-2".
        key: 16 hexadecimal digits, equal for equal settings.
    """

    name: str
    key: str


def name_settings(runs: Sequence[Run]) -> list[Setting]:
    """Name the setting of each run, by what differs between these runs alone.

    Args:
        runs: the runs.

    Returns:
        One setting a run, in their order. Runs that differ in their seed or fold alone have the same one.
    """
    flat = [_flat(run) for run in runs]
    shown = _differing(flat)
    short = _short_names(shown)
    places = _places(runs, flat)
    words = [values | {"data.set": places[values["data.set"]]} for values in flat]
    return [Setting(_name(word, shown, short), _digest(values)) for word, values in zip(words, flat, strict=True)]


def _flat(run: Run) -> dict[str, Any]:
    """Return the values that change results, by their dotted keys."""
    flat = {
        key: value
        for group in HEADS
        for key, value in _leaves(run.config.get(group), group)
        if key not in WITHOUT_EFFECT
    }
    trainer = run.config.get("trainer") or {}
    flat["trainer.processes"] = _whole(trainer.get("devices")) * _whole(trainer.get("num_nodes"))
    data = run.config.get("data") or {}
    flat["data.split"] = "hold-out" if data.get("fold") is None else f"{data.get('folds')} folds"
    flat["data.set"] = _digest(sorted([*run.splits.get("train", ()), *run.splits.get("val", ())]))
    return flat


def _places(runs: Sequence[Run], flat: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return what people call each set of images: the folder it was first found in, or its reader."""
    places: dict[str, str] = {}
    for run, values in zip(runs, flat, strict=True):
        data = run.config.get("data") or {}
        places.setdefault(values["data.set"], PurePath(str(data.get("root") or data.get("reader"))).name)
    named = list(places.values())
    return {digest: name if named.count(name) == 1 else f"{name} {digest[:4]}" for digest, name in places.items()}


def _leaves(value: Any, key: str) -> Iterable[tuple[str, Any]]:  # noqa: ANN401
    if not isinstance(value, Mapping):
        return [(key, value)]
    return [leaf for name, inner in value.items() for leaf in _leaves(inner, f"{key}.{name}")]


def _whole(value: object) -> int:
    """Return a number of devices; 1 for `auto`, which does not tell."""
    if isinstance(value, list):
        return len(value)
    return value if isinstance(value, int) and value > 0 else 1


def _differing(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the keys that need words, in the order of the configuration."""
    keys = list(dict.fromkeys(key for values in flat for key in values if key not in FOLLOWS))
    keys += [key for key, other in FOLLOWS.items() if any(values.get(key) != values.get(other) for values in flat)]
    return [key for key in keys if key != "model.name" and _differs(key, flat)]


def _differs(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a key has several values among the runs that have the same head of its group."""
    head = HEADS[key.partition(".")[0]]
    values: dict[str, set[str]] = {}
    for run in flat:
        kind = "" if head in (None, key) else str(run.get(head or ""))
        values.setdefault(kind, set()).add(json.dumps(run.get(key), default=str))
    return any(len(found) > 1 for found in values.values())


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return the last part of each key where no other of them has the same, and the group where the part is `name`."""
    lasts = [key.rsplit(".", 1)[-1] for key in keys]
    short = {key: last if lasts.count(last) == 1 else key for key, last in zip(keys, lasts, strict=True)}
    return {key: key.removesuffix(".name") if key.endswith(".name") else name for key, name in short.items()}


def _name(values: Mapping[str, Any], shown: Sequence[str], short: Mapping[str, str]) -> str:
    words = [f"{short[key]} {_word(values[key])}" for key in shown if key in values]
    return ", ".join([str(values.get("model.name", "model")), *words])


def _word(value: object) -> str:
    """Return a value as people write it: a range 0.5-2, a list of others 8 16 32."""
    if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
        return ("-" if len(value) == 2 else " ").join(f"{item:g}" for item in value)
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return str(value)


def _digest(value: object) -> str:
    """Return 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
