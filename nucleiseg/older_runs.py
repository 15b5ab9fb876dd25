"""Translate the configuration of a run of an earlier version to current keys.

    config = translate(config)      # called by `renamed_keys.with_current_names`

`TRANSLATIONS` has for each group how its earlier form is recognized and translated.
"""

from collections.abc import Callable, Mapping
from typing import Any

OPTIMIZERS = {"sgd": ("torch.optim.SGD", ["momentum"]), "adamw": ("torch.optim.AdamW", ["betas"])}
"""Earlier `optim.name` -> class, and the keys that are its arguments."""

SCHEDULES = {
    "multistep": ("nucleiseg.training.schedule.WarmupMultistep", ["milestones", "gamma"]),
    "cosine": ("nucleiseg.training.schedule.WarmupCosine", ["final_factor"]),
}
"""Earlier `optim.schedule` -> class, and the keys that are its arguments besides those of the warm-up."""

LOGGERS = {
    "wandb": {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "nucleiseg"},
    "mlflow": {"_target_": "pytorch_lightning.loggers.MLFlowLogger", "experiment_name": "nucleiseg"},
}
"""Earlier `logger` -> the entry of the group."""


def translate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with groups of an earlier form translated."""
    translated = dict(config)
    for group, (is_earlier, translate_group) in TRANSLATIONS.items():
        if group in config and is_earlier(config[group]):
            translated[group] = translate_group(config[group])
    return translated


def _translate_optim(optim: Mapping[str, Any]) -> dict[str, Any]:
    target, arguments = OPTIMIZERS[optim["name"]]
    schedule, shape = SCHEDULES[optim.get("schedule", "multistep")]
    own = ["lr", *arguments, "weight_decay", "weight_decay_norm"]
    of_schedule = ["total_steps", "warmup", "warmup_factor", *shape]
    return {
        "_target_": target,
        **{key: optim[key] for key in own if key in optim},
        "schedule": {"_target_": schedule, **{key: optim[key] for key in of_schedule if key in optim}},
    }


def _translate_data(data: Mapping[str, Any]) -> dict[str, Any]:
    return {**data, "classes": "one"}


TRANSLATIONS: Mapping[str, tuple[Callable[[Any], bool], Callable[[Any], Any]]] = {
    # until 0.1: optim.name=sgd|adamw with optim.schedule=multistep|cosine, all keys beside each other
    "optim": (
        lambda optim: optim.get("name") in OPTIMIZERS and optim.get("schedule", "multistep") in SCHEDULES,
        _translate_optim,
    ),
    # until 0.1: all classes of the annotations were read as one
    "data": (lambda data: isinstance(data, Mapping) and "reader" in data and "classes" not in data, _translate_data),
    # until 0.1: logger=wandb|mlflow|null
    "logger": (
        lambda logger: logger is None or (isinstance(logger, str) and logger in LOGGERS),
        lambda logger: {logger: LOGGERS[logger]} if logger else {},
    ),
}
"""Group -> whether it has an earlier form, and its translation."""
