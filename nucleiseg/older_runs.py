"""Translate the configuration of a run that an earlier version has started into today's keys.

    config = translate(config)      # called by `renamed_keys.with_current_names`

One table: a group, how its earlier form is recognized, and the function that translates it.
"""

from collections.abc import Callable, Mapping
from typing import Any

OPTIMIZERS = {"sgd": ("torch.optim.SGD", ["momentum"]), "adamw": ("torch.optim.AdamW", ["betas"])}
"""Earlier `optim.name` -> the class, and which of the keys were its arguments."""

SCHEDULES = {
    "multistep": ("nucleiseg.training.schedule.WarmupMultistep", ["milestones", "gamma"]),
    "cosine": ("nucleiseg.training.schedule.WarmupCosine", ["final_factor"]),
}
"""Earlier `optim.schedule` -> the class, and which of the keys were its arguments beside those of the warm-up."""

LOGGERS = {
    "wandb": {"_target_": "pytorch_lightning.loggers.WandbLogger", "project": "nucleiseg"},
    "mlflow": {"_target_": "pytorch_lightning.loggers.MLFlowLogger", "experiment_name": "nucleiseg"},
}
"""Earlier `logger` -> the entry of the group."""


def translate(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which groups of an earlier form have today's; others stay as they are."""
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
