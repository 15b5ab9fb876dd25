"""Identify the setting of a run (its configuration without seed and fold) and name it by what differs between runs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from nucleiseg.run_folder import flatten
from nucleiseg.runs import Run

HEADS = {"data": "data.reader", "aug": None, "model": "model.name", "optim": "optim._target_", "trainer": None}
"""Groups of the configuration that change results, each with the key that stands for the whole group: models of
different names differ in many keys, and the name implies them."""

WITHOUT_EFFECT = {
    "data.fold",  # the folds and seeds of a setting belong together, see `data.split`
    "data.folds",
    "data.root",  # a location; `data.set` identifies the images
    "data.cache_dir",
    "data.workers",
    "trainer.accelerator",
    "trainer.strategy",
    "trainer.log_every",
    "trainer.devices",  # multiplied by the number of nodes: `trainer.processes`
    "trainer.num_nodes",
}
"""Keys of these groups that don't change a result beyond rounding."""

FOLLOWS = {"optim.schedule.total_steps": "trainer.max_steps"}
"""Keys that are omitted from names if they equal another key."""


class Setting(NamedTuple):
    """What the seeds and folds of a setting have in common.

    Attributes:
        name: the model, then what differs between the settings: "r50_c4, saturation 0.5-2".
        key: 16 hexadecimal digits, equal for equal settings.
    """

    name: str
    key: str


def name_settings(runs: Sequence[Run]) -> list[Setting]:
    """Name the setting of each run by what differs between these runs.

    Returns:
        One setting for each run, in their order; runs that differ only in seed or fold share one.
    """
    flat = [_result_changing_values(run) for run in runs]
    keys = list(dict.fromkeys(key for values in flat for key in values if key not in FOLLOWS))
    keys += [key for key, other in FOLLOWS.items() if any(values.get(key) != values.get(other) for values in flat)]
    shown = [key for key in keys if key != "model.name" and _differs(key, flat)]
    # A class is named by its group: `optim SGD` for `optim._target_ torch.optim.SGD`. Other keys are named by their
    # last part where it is unique: `saturation`.
    places = [key.removesuffix("._target_") for key in shown]
    lasts = [place.rsplit(".", 1)[-1] for place in places]
    short = {
        key: place if lasts.count(last) > 1 else last for key, place, last in zip(shown, places, lasts, strict=True)
    }
    # each set of images is named by the folder it was first found in, or by its reader
    names: dict[str, str] = {}
    for run, values in zip(runs, flat, strict=True):
        data = run.config.get("data") or {}
        names.setdefault(values["data.set"], PurePath(str(data.get("root") or data.get("reader"))).name)
    found = list(names.values())
    data_names = {digest: name if found.count(name) == 1 else f"{name} {digest[:4]}" for digest, name in names.items()}
    settings = []
    for values in flat:
        readable = values | {"data.set": data_names[values["data.set"]]}
        readable |= {key: str(value).rpartition(".")[2] for key, value in values.items() if key.endswith("._target_")}
        words = [f"{short[key]} {_as_written(readable[key])}" for key in shown if key in readable]
        settings.append(Setting(", ".join([str(values.get("model.name", "model")), *words]), _digest(values)))
    return settings


def _result_changing_values(run: Run) -> dict[str, Any]:
    """Return the values that change results, by their dotted keys."""
    flat = {
        key: value
        for group in HEADS
        for key, value in flatten({group: run.config.get(group)}).items()
        if key not in WITHOUT_EFFECT and value != {}
    }
    trainer = run.config.get("trainer") or {}
    flat["trainer.processes"] = _count(trainer.get("devices")) * _count(trainer.get("num_nodes"))
    data = run.config.get("data") or {}
    flat["data.split"] = "hold-out" if data.get("fold") is None else f"{data.get('folds')} folds"
    flat["data.set"] = _digest(sorted([*run.splits.get("train", ()), *run.splits.get("val", ())]))
    return flat


def _count(value: object) -> int:
    """Return a number of devices or nodes; 1 for `auto`."""
    if isinstance(value, list):
        return len(value)
    return value if isinstance(value, int) and value > 0 else 1


def _differs(key: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a key has several values among runs that share the head of its group."""
    head = HEADS[key.partition(".")[0]]
    values: dict[str, set[str]] = {}
    for run in flat:
        kind = "" if head in (None, key) else str(run.get(head or ""))
        values.setdefault(kind, set()).add(json.dumps(run.get(key), default=str))
    return any(len(found) > 1 for found in values.values())


def _as_written(value: object) -> str:
    """Format a value for a name: a pair as 0.5-2, any other list as 8 16 32."""
    if isinstance(value, list) and value and all(isinstance(item, int | float) for item in value):
        return ("-" if len(value) == 2 else " ").join(f"{item:g}" for item in value)
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return str(value)


def _digest(value: object) -> str:
    """Return a digest of 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
