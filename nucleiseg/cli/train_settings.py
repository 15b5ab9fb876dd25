"""The configuration of a training as typed settings, with the problems of all its groups in one error."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar

from nucleiseg.cli.containers import dotted_keys
from nucleiseg.cli.groups import take_group
from nucleiseg.data.build import read_data_keys
from nucleiseg.models.config import ModelConfig
from nucleiseg.settings import PathText, Problems, Seed, Settings, settings, unknown_key
from nucleiseg.training.callbacks.trackers import TrackerName, checked_logger
from nucleiseg.training.settings import CheckpointSettings, OptimSettings, TrainerSettings, ValidationSettings
from nucleiseg.transforms.recipe import Recipe

GROUPS = ("data", "aug", "model", "optim", "trainer", "checkpoint", "validation")
"""Groups of keys that every run needs."""

AnySettings = TypeVar("AnySettings", bound=Settings)


@settings
class SweepKeys(Settings):
    """The keys `sweep` of `conf/train.yaml`.

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
        seed: of everything that is sampled.
        resume: the folder of a run to resume; read before Hydra composes anything.
        sweep: where the jobs of a sweep go; absent in the `config.yaml` of early runs.
    """

    seed: Seed
    resume: PathText | None = None
    sweep: SweepKeys | None = None


TOP_FIELDS = tuple(field.name for field in fields(RunKeys))
TOP_KEYS = (*GROUPS, "logger", *TOP_FIELDS)
"""All keys at the top of `conf/train.yaml`."""


@dataclass(frozen=True)
class RunSettings:
    """A training's configuration, each group as the typed settings of its package.

    Attributes:
        data: the checked keys of the group `data`, for `data.build`.
        recipe: the group `aug`.
        model, optim, trainer, checkpoint, validation: the groups of these names.
        seed: of everything that is sampled.
        logger: an experiment tracker beside `metrics.csv` and TensorBoard.
    """

    data: Mapping[str, Any]
    recipe: Recipe
    model: ModelConfig
    optim: OptimSettings
    trainer: TrainerSettings
    checkpoint: CheckpointSettings
    validation: ValidationSettings
    seed: int
    logger: TrackerName | None

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, complete: bool = True) -> Self:
        """Build from the composed configuration of `conf/train.yaml` as plain Python.

        Args:
            config: the configuration.
            complete: refuse missing keys; the `config.yaml` of an earlier version may lack some.

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
            "logger": problems.taking(lambda: checked_logger(config.get("logger"))),  # absent in early runs
        }
        top = {key: config[key] for key in TOP_FIELDS if key in config}
        keys = problems.taking(lambda: RunKeys.from_dict(top, ""))
        problems.raise_found()
        assert keys is not None
        return cls(data=config["data"], seed=keys.seed, **checked)
