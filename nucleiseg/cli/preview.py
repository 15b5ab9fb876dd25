"""The command `preview`: figures of a data set and its augmentation."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nucleiseg.cli.check import print_data_check, require_visible_nuclei
from nucleiseg.cli.groups import qualified_errors, take_group
from nucleiseg.cli.paths import require_writable_folder
from nucleiseg.data.build import build_datamodule, read_data_keys
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.progress import echo
from nucleiseg.report.preview_figures import write_preview
from nucleiseg.settings import PathText, Problems, Seed, Settings, settings
from nucleiseg.transforms.extra import check_extra
from nucleiseg.transforms.recipe import Recipe


@settings
class PreviewKeys(Settings):
    """The keys of `conf/preview.yaml` besides its groups.

    Attributes:
        output: the folder for the figures.
        crops: number of augmented crops; 1,000 make a picture of some 100 megapixels.
        seed: of the crops.
    """

    output: PathText = "preview"
    crops: Annotated[int, Field(ge=1, le=1000)] = 12
    seed: Seed = 0


GROUPS = ("data", "aug", "model")
"""Groups of keys, as for training."""


@dataclass(frozen=True)
class PreviewSettings:
    """The configuration of a preview: typed settings of each group."""

    keys: PreviewKeys
    data: Mapping[str, Any]
    recipe: Recipe
    model: ModelConfig


def check(config: Mapping[str, Any]) -> PreviewSettings:
    """Check every key of the command without accessing files.

    Raises:
        InputError: with a sentence for every problem of all groups.
    """
    problems = Problems()
    take_group(problems, config, "data", read_data_keys)
    own = {key: value for key, value in config.items() if key not in GROUPS}
    checked: dict[str, Any] = {
        "recipe": take_group(problems, config, "aug", lambda keys: Recipe.from_dict(keys, "aug", complete=True)),
        "model": take_group(
            problems, config, "model", lambda keys: ModelConfig.from_dict(keys, "model", complete=True)
        ),
        "keys": problems.taking(lambda: PreviewKeys.from_dict(own, "")),
    }
    problems.raise_found()
    return PreviewSettings(data=config["data"], **checked)


def preview(config: dict[str, Any]) -> None:
    """Check the data, print their properties, and plot the figures.

    Args:
        config: the composed configuration of `conf/preview.yaml` as nested dicts and lists.

    Raises:
        InputError: for bad configuration or data, or an output that cannot be written.
    """
    checked = check(config)
    keys, recipe = checked.keys, checked.recipe
    check_extra(recipe.extra, from_file=False, key="aug.extra")
    require_writable_folder(Path(keys.output))
    data = {**checked.data, "val": "none", "fold": None}
    with qualified_errors(config):
        datamodule = build_datamodule(data, train_transform=recipe, val_transform=recipe, seed=keys.seed, total_steps=1)
        datamodule.setup()
    require_visible_nuclei(datamodule, recipe)
    # random weights suffice: the check needs only anchors and limits
    network = build(replace(checked.model, weights=None, norm=None, freeze_at=None), len(datamodule.class_names))
    print_data_check(datamodule.summaries, recipe, network)
    paths = write_preview(
        keys.output,
        lambda index: datamodule.load(datamodule.train_records[index]),
        datamodule.summaries,
        recipe,
        {"detections": checked.model.detection.limit, "proposals": checked.model.rpn.post_nms_test},
        crops=keys.crops,
        seed=keys.seed,
    )
    for path in paths:
        echo(f"Written: {path}")
