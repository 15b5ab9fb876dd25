"""Renamed and removed keys of configurations and checkpoints, so that older files load.

For example:

    with_current_names({"model": {"trunk": "resnet50"}})     # {"model": {"backbone": "resnet50"}}
"""

from collections.abc import Mapping
from typing import Any

from nucleiseg.errors import InputError
from nucleiseg.older_runs import translate

RENAMED = {"model.trunk": "model.backbone"}
"""Old key -> new key; both with the name of their group."""

PYRAMID_KEYS = ("fpn_channels", "anchors.every_level")
HEAD_KEYS = ("roi.fc_dim", "mask.pool", "mask.convs")

WITHOUT_EFFECT = {"c4": (*PYRAMID_KEYS, *HEAD_KEYS), "dc5": PYRAMID_KEYS, "fpn": ()}
"""Keys of `model` without effect in a family, which `ModelConfig` refuses; older files have values for them."""


def with_current_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, such as a run's `config.yaml`, with the current names of its keys.

    Raises:
        InputError: if a group has both names of a key.
    """
    groups = dict(config)
    for group in {old.partition(".")[0] for old in RENAMED} & groups.keys():
        if isinstance(groups[group], Mapping):
            groups[group] = _renamed(group, groups[group])
    return translate(groups)


def with_current_model_keys(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the group `model` alone with the current names of its keys, as in `with_current_names`."""
    return _renamed("model", model)


def _renamed(group: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    current = dict(keys)
    for old, new in RENAMED.items():
        name, new_name = old.removeprefix(f"{group}."), new.removeprefix(f"{group}.")
        if name not in current:
            continue
        if new_name in current:
            raise InputError(f"{old} is now {new}; give {new} alone.")
        current[new_name] = current.pop(name)
        if old == "model.trunk":  # a file from before keys without an effect were refused
            for key in WITHOUT_EFFECT.get(str(current.get("family", "fpn")), ()):
                part, _, leaf = key.rpartition(".")
                if not part and leaf in current:
                    current[leaf] = None
                elif isinstance(current.get(part), Mapping) and leaf in current[part]:
                    current[part] = {**current[part], leaf: None}
    return current
