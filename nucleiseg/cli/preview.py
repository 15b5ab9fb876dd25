"""From plain configuration to figures of the data: what `preview.py` calls, apart from Hydra so that tests can too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from nucleiseg.cli.check import limits, require_visible_nuclei, say_data_check
from nucleiseg.cli.paths import require_writable_folder, with_paths
from nucleiseg.data.build import build_datamodule
from nucleiseg.data.cache import SampleCache
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.progress import say
from nucleiseg.report.preview import write_preview
from nucleiseg.structures import Sample
from nucleiseg.transforms.recipe import Recipe


class LazySamples(Sequence[Sample]):
    """The samples of records, each read when it is asked for."""

    def __init__(self, reader: Reader, cache: SampleCache, records: Sequence[Record]) -> None:
        self.reader = reader
        self.cache = cache
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return LazySamples(self.reader, self.cache, self.records[index])
        return self.cache.load(self.reader, self.records[index])


def preview(config: dict[str, Any]) -> None:
    """Check the data, say what they are, and draw them.

    Args:
        config: the composed configuration of `conf/preview.yaml` as plain Python.

    Raises:
        InputError: for bad configuration or data, or an output that cannot be written.
    """
    output = with_paths(config, "output")["output"]
    require_writable_folder(Path(output))
    recipe = Recipe.from_dict(config["aug"], "aug")
    model = ModelConfig.from_dict(config["model"])
    data = {**config["data"], "val": "none", "fold": None}
    datamodule = build_datamodule(
        data, train_transform=recipe, val_transform=recipe, seed=config["seed"], total_steps=1
    )
    datamodule.setup()
    require_visible_nuclei(datamodule, recipe)
    # Random weights do: the check asks for anchors and limits alone.
    network = build(replace(model, weights=None, norm=None, freeze_at=None), len(datamodule.class_names))
    say_data_check(datamodule.summaries, recipe, network)
    bounds = limits(model)
    paths = write_preview(
        output,
        LazySamples(datamodule.reader, datamodule.cache, datamodule.train_records),
        datamodule.summaries,
        recipe,
        {"detections": bounds.detections, "proposals": bounds.test_proposals},
        crops=config["crops"],
        seed=config["seed"],
    )
    for path in paths:
        say(f"Drew {path}.")
