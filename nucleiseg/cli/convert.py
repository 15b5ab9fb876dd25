"""The command `convert`: write a data set in another layout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucleiseg.cli.groups import qualified_errors, take_group
from nucleiseg.cli.paths import require_writable_folder
from nucleiseg.data.build import read_data_keys
from nucleiseg.data.readers.base import Reader
from nucleiseg.data.settings import DataSettings
from nucleiseg.progress import counted, echo
from nucleiseg.settings import PathText, Problems, Settings, settings
from nucleiseg.writers.conversion import convert_data_set
from nucleiseg.writers.data_set_formats import Layout


@settings
class ConvertKeys(Settings):
    """The keys of `conf/convert.yaml` besides the group `data`.

    Attributes:
        output: a new folder.
        to: the layout.
    """

    output: PathText
    to: Layout = "coco"


def check(config: Mapping[str, Any]) -> tuple[ConvertKeys, Reader, DataSettings]:
    """Check every key of the command without accessing files.

    Raises:
        InputError: with a sentence for every problem.
    """
    problems = Problems()
    data = take_group(problems, config, "data", read_data_keys)
    own = {key: value for key, value in config.items() if key != "data"}
    keys = problems.taking(lambda: ConvertKeys.from_dict(own, ""))
    problems.raise_found()
    assert data is not None
    assert keys is not None
    return keys, *data


def convert(config: Mapping[str, Any]) -> int:
    """Convert a data set, and print what was written and what failed.

    Args:
        config: the composed configuration of `conf/convert.yaml` as dicts and lists.

    Returns:
        The number of images that could not be read.

    Raises:
        InputError: for bad configuration or data, or an output that exists or cannot be written.
    """
    keys, reader, data = check(config)
    require_writable_folder(Path(keys.output))
    with qualified_errors(config):
        summary = convert_data_set(reader.resolve(), keys.output, keys.to, data.mpp)
    echo(f"{counted(summary.images, 'image')} with {counted(summary.nuclei, 'nucleus', 'nuclei')}: {keys.output}.")
    for problems in summary.failed.values():
        for problem in problems:
            echo(problem)
    if summary.failed:
        echo(f"{counted(len(summary.failed), 'image')} failed: {', '.join(summary.failed)}.")
    return len(summary.failed)
