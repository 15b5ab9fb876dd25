"""Typed settings of a training; the problems of all groups are reported in one error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Annotated, Any, Self, TypeVar

from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler

from nucleiseg.cli.groups import dotted_keys, take_group
from nucleiseg.data.build import read_data_keys
from nucleiseg.models.config import ModelConfig
from nucleiseg.settings import AsTuple, PathText, Problems, Seed, Settings, settings, unknown_key
from nucleiseg.training.extensions import check_group
from nucleiseg.training.optimizers import check_optim
from nucleiseg.training.settings import CheckpointSettings, OptimSettings, TrainerSettings, ValidationSettings
from nucleiseg.transforms.recipe import Recipe

GROUPS = ("data", "aug", "model", "optim", "trainer", "checkpoint", "validation")
"""Groups of keys that every run needs."""

AnySettings = TypeVar("AnySettings", bound=Settings)


@settings
class SweepKeys(Settings):
    """The group `sweep` of `conf/train.yaml`.

    Attributes:
        dir: the folder of a sweep's jobs.
        resume: complete the sweep in `dir`.
    """

    dir: PathText
    resume: bool = False


@settings
class RunKeys(Settings):
    """The keys at the top of `conf/train.yaml` outside the groups.

    Attributes:
        seed: of all random numbers.
        resume: the folder of a run to resume; read before Hydra composes the configuration.
        sweep: folder of a sweep's jobs; absent in the `config.yaml` of early runs.
        trust: packages whose classes the `config.yaml` of a resumed run may name by `_target_`.
    """

    seed: Seed
    trust: Annotated[tuple[str, ...], AsTuple] = ()
    resume: PathText | None = None
    sweep: SweepKeys | None = None


TOP_FIELDS = tuple(field.name for field in fields(RunKeys))
TOP_KEYS = (*GROUPS, "callbacks", "logger", *TOP_FIELDS)
"""All keys at the top of `conf/train.yaml`."""


@dataclass(frozen=True)
class RunSettings:
    """The configuration of a training: typed settings of each group.

    Attributes:
        data: the checked keys of the group `data`, for `data.build`.
        recipe: the group `aug`.
        model, optim, trainer, checkpoint, validation: the groups of these names.
        seed: of all random numbers.
        optimizer_states: tensors of a parameter's size that the optimizer keeps.
        callbacks: further callbacks of Lightning: name -> `_target_` and arguments.
        logger: further loggers of Lightning: name -> `_target_` and arguments.
    """

    data: Mapping[str, Any]
    recipe: Recipe
    model: ModelConfig
    optim: OptimSettings
    trainer: TrainerSettings
    checkpoint: CheckpointSettings
    validation: ValidationSettings
    seed: int
    optimizer_states: int
    callbacks: Mapping[str, Any]
    logger: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, complete: bool = True, from_file: bool = False) -> Self:
        """Build from the composed configuration of `conf/train.yaml` as nested dicts and lists.

        Args:
            config: the configuration.
            complete: refuse missing keys; the `config.yaml` of an earlier version may lack some.
            from_file: the configuration was read from a file, which may name classes of trusted packages only.

        Raises:
            InputError: with a sentence for every missing or unknown key and every refused value, of all groups.
        """
        problems = Problems()
        known = [*TOP_KEYS, *dotted_keys({key: config[key] for key in GROUPS if key in config})]
        problems.found += [unknown_key(str(key), known) for key in config if key not in TOP_KEYS]

        def take(group: str, kind: type[AnySettings]) -> AnySettings | None:
            return take_group(problems, config, group, lambda keys: kind.from_dict(keys, group, complete=complete))

        take_group(problems, config, "data", read_data_keys)
        checked: dict[str, Any] = {
            "recipe": take("aug", Recipe),
            "model": take("model", ModelConfig),
            "optim": take("optim", OptimSettings),
            "trainer": take("trainer", TrainerSettings),
            "checkpoint": take("checkpoint", CheckpointSettings),
            "validation": take("validation", ValidationSettings),
            "callbacks": config.get("callbacks") or {},  # absent in early runs
            "logger": config.get("logger") or {},
        }
        top = {key: config[key] for key in TOP_FIELDS if key in config}
        keys = problems.taking(lambda: RunKeys.from_dict(top, ""))
        trusted = keys.trust if keys else ()
        problems.taking(lambda: _check_extensions(config, trusted, from_file=from_file))
        if optim := checked["optim"]:
            checked["optimizer_states"] = problems.taking(
                lambda: check_optim(optim, trusted=trusted, from_file=from_file)
            )
        problems.raise_found()
        assert keys is not None
        return cls(data=config["data"], seed=keys.seed, **checked)


def _check_extensions(config: Mapping[str, Any], trusted: Sequence[str], *, from_file: bool) -> None:
    """Refuse callbacks, loggers and a profiler that may not be instantiated.

    Raises:
        InputError: a sentence for each problem.
    """
    trainer = config.get("trainer")
    profiler = trainer.get("profiler") if isinstance(trainer, Mapping) else None
    groups: tuple[tuple[str, object, type], ...] = (
        ("callbacks", config.get("callbacks"), Callback),
        ("logger", config.get("logger"), Logger),
        ("trainer", {"profiler": profiler} if isinstance(profiler, Mapping) else None, Profiler),
    )
    problems = Problems()
    for key, group, expected in groups:
        problems.taking(partial(check_group, group, expected, trusted=trusted, from_file=from_file, key=key))
    problems.raise_found()
