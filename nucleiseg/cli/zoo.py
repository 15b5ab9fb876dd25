"""The command `zoo`: list pretrained weights, download them, export checkpoints to detectron2 or half precision."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from rich import box
from rich.console import Console
from rich.table import Table

from nucleiseg.errors import InputError, raise_problems
from nucleiseg.files import write_text
from nucleiseg.invocation import invocation
from nucleiseg.models import checkpoint
from nucleiseg.models.download import fetch as fetch_file
from nucleiseg.models.download import path_in_cache
from nucleiseg.models.weights.detectron2_config import config_text
from nucleiseg.models.weights.exporter import save_detectron2
from nucleiseg.models.zoo import ZOO, close_names
from nucleiseg.progress import echo
from nucleiseg.settings import Accepts, AsTuple, PathText, Settings, settings
from nucleiseg.shipped_weights import SHIPPED_WEIGHTS


@settings
class ZooKeys(Settings):
    """The keys of `conf/zoo.yaml`, which explains them."""

    fetch: Annotated[tuple[str, ...] | str | None, AsTuple, Accepts("a name of the zoo, a list of them, or null")] = (
        None
    )
    export: PathText | None = None
    output: PathText | None = None

    def contradictions(self, at: str) -> Iterator[str]:
        """Yield a sentence if one of `export` and `output` is missing."""
        if (self.export is None) != (self.output is None):
            yield (
                f"{at}export and {at}output belong together: give export=CHECKPOINT output=FILE.pkl (or FILE.ckpt, a "
                "copy in half precision)."
            )


def check(config: Mapping[str, Any]) -> ZooKeys:
    """Check every key of the command without accessing files.

    Raises:
        InputError: with a sentence for every problem.
    """
    return ZooKeys.from_dict(config, "")


def zoo(**keys: Any) -> int:  # noqa: ANN401
    """Fetch weights, export a checkpoint, or list the zoo.

    Args:
        **keys: see `ZooKeys`.

    Returns:
        The number of weights that could not be fetched.

    Raises:
        InputError: for a name that is not in the zoo, or a checkpoint that cannot be exported.
    """
    given = check(keys)
    if given.export is not None and given.output is not None:
        export_checkpoint(Path(given.export), Path(given.output))
    if given.fetch:
        return fetch_ahead([given.fetch] if isinstance(given.fetch, str) else given.fetch)
    if given.export is None:
        list_zoo()
    return 0


def fetch_ahead(names: Sequence[str]) -> int:
    """Download weights into the cache, and return how many failed, each logged with its reason.

    Raises:
        InputError: for unknown names, before any download.
    """
    problems = []
    for name in names:
        if name not in ZOO and name not in SHIPPED_WEIGHTS:
            close = close_names(name)
            meant = f"Did you mean {' or '.join(close)}? " if close else ""
            problems.append(f"fetch={name} is not in the zoo. {meant}{invocation('zoo')} lists all names.")
    raise_problems(problems)
    failed = 0
    for name in names:
        try:
            path = SHIPPED_WEIGHTS[name] if name in SHIPPED_WEIGHTS else fetch_file(ZOO[name])
            echo(f"{name} is at {path}.")
        except InputError as error:
            echo(str(error))
            failed += 1
    return failed


def export_checkpoint(path: Path, output: Path) -> None:
    """Export a checkpoint as detectron2's `.pkl` with its configuration as `.yaml`, or as `.ckpt` in half precision.

    Raises:
        InputError: if it is not a checkpoint, or the format cannot express the network.
    """
    if output.suffix not in (".pkl", ".ckpt"):
        raise InputError(
            f"output is {output}; it accepts a file NAME.pkl, which detectron2 requires, or NAME.ckpt, a copy in half "
            "precision."
        )
    if output.suffix == ".ckpt":
        weights, metadata = checkpoint.read(path)
        checkpoint.write_half(output, weights, metadata)
        echo(f"{path} (step {metadata.step}) is now {output}, in half precision.")
        return
    network, metadata = checkpoint.load(path)
    save_detectron2(network, output)
    settings = output.with_suffix(".yaml")
    write_text(settings, config_text(network.config, output.name, metadata.class_names, metadata.scale))
    echo(f"Exported {path} (step {metadata.step}) to {output}, its detectron2 configuration to {settings}.")


def list_zoo() -> None:
    """Print all weights with their published AP, and which of them are downloaded."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)  # fits 80 columns
    for column in ("model.weights=", "trained", "box AP", "mask AP", "MB", "here"):
        table.add_column(column, justify="right" if column in ("box AP", "mask AP", "MB") else "left", no_wrap=True)
    for name, path in SHIPPED_WEIGHTS.items():
        table.add_row(name, "DSB 2018", "", "", f"{path.stat().st_size / 1e6:.0f}", "yes")
    for entry in ZOO.values():
        measured = entry.measured
        precision = ("", "") if measured is None else (f"{measured.box_ap:.1f}", f"{measured.mask_ap:.1f}")
        trained = entry.schedule if measured is None else f"COCO {entry.schedule}"
        here = "yes" if path_in_cache(entry).exists() else ""
        table.add_row(entry.name, trained, *precision, str(entry.megabytes), here)
    Console().print(table)
    some_entry = next(iter(ZOO.values()))
    echo(
        f"They are stored in {path_in_cache(some_entry).parent} (the environment variable NUCLEISEG_CACHE moves it). "
        f"{invocation('zoo')} fetch=NAME,NAME downloads ahead; model.weights=auto takes the 3x weights of the model.\n"
        f"{', '.join(SHIPPED_WEIGHTS)}: in the package, for model=nuclei_fpn and predict.py checkpoint=nuclei.\n"
        f"Licenses: coco/*: {some_entry.license}; torchvision/*: {ZOO['torchvision/imagenet_resnet50'].license}; "
        "nuclei: CC0."
    )
