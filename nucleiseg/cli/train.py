"""The command `train`: check a configuration, prepare data and network, and train."""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from nucleiseg.cli.check import print_data_check, require_visible_nuclei, run_plan
from nucleiseg.cli.groups import qualified_errors
from nucleiseg.cli.overrides import override
from nucleiseg.cli.train_settings import RunSettings
from nucleiseg.data.build import build_datamodule
from nucleiseg.data.classes import ONE
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.errors import InputError
from nucleiseg.files import write_json, write_text
from nucleiseg.invocation import invocation
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.norm import resolve_norm_and_freeze
from nucleiseg.models.pretrained import Initialization, resolve_weights
from nucleiseg.progress import echo
from nucleiseg.run_folder import CONFIG, SPLITS, holds_run, known_status, read_splits
from nucleiseg.training import run
from nucleiseg.training.callbacks.status import INTERRUPTIONS, Status, resume_sentence
from nucleiseg.training.extensions import make_callbacks, make_loggers, make_profiler
from nucleiseg.training.ranks import is_first_rank
from nucleiseg.training.run_lock import run_lock
from nucleiseg.transforms.extra import check_extra
from nucleiseg.transforms.preprocessing import Preprocessing

HYDRA_FOLDER = ".hydra"
"""Hydra's name of the folder with the composed configuration and the command line."""


def check(config: Mapping[str, Any]) -> None:
    """Check every key of a training without accessing files; see `RunSettings.from_config`."""
    RunSettings.from_config(config)


def train(
    config: Mapping[str, Any], run_dir: Path, *, resume: bool = False, hydra_files: Mapping[str, str] | None = None
) -> None:
    """Check configuration, data and network, log the plan of the run, and train.

    Args:
        config: the composed configuration of `conf/train.yaml` as nested dicts and lists; not changed.
        run_dir: the run's folder.
        resume: continue the run in `run_dir` where it stopped.
        hydra_files: files of the folder `.hydra`: name -> text.

    Raises:
        InputError: for bad configuration or data, before training; `status.json` records the reason. If another process
            trains in the folder or it contains a run already, its files are not changed.
    """
    trainer = config.get("trainer")
    max_steps = trainer.get("max_steps") if isinstance(trainer, Mapping) else None
    steps = max_steps if isinstance(max_steps, int) else 0
    with run_lock(run_dir), record_failure(run_dir, steps), qualified_errors(config):
        _train(deepcopy(dict(config)), run_dir, resume=resume, hydra_files=hydra_files or {})


@contextmanager
def record_failure(run_dir: Path, max_steps: int) -> Iterator[None]:
    """Record failures before the training loop starts in `status.json`, and log how to resume after Ctrl-C.

    Args:
        run_dir: the run's folder.
        max_steps: `trainer.max_steps`, not yet validated.
    """
    has_steps = holds_run(run_dir)  # then its status stays: a resume that failed to start has changed nothing
    before = known_status(run_dir)
    try:
        yield
    except BaseException as error:
        # bad input may be found by any rank, whose failure makes the others fail too
        is_recorded_here = is_first_rank() or isinstance(error, InputError)
        if is_recorded_here and not has_steps and run_dir.is_dir() and known_status(run_dir) == before:
            with suppress(OSError):  # a full disk must not hide the error
                Status(run_dir, of=max_steps, every=1).record_failure(error)
        if isinstance(error, INTERRUPTIONS) and (run_dir / CONFIG).exists():
            echo(resume_sentence(run_dir))
        raise


def _train(config: dict[str, Any], run_dir: Path, *, resume: bool, hydra_files: Mapping[str, str]) -> None:
    is_first = is_first_rank()
    settings = RunSettings.from_config(config, complete=not resume, from_file=resume)
    callbacks, loggers = make_callbacks(settings.callbacks), make_loggers(settings.logger, run_dir)
    profiler = make_profiler(settings.trainer.profiler, run_dir, "trainer.profiler")
    point = run.starting_point(run_dir, settings.trainer, resume)
    echo(f"The run's folder: {run_dir}")
    check_extra(settings.recipe.extra, trusted=config.get("trust") or (), from_file=resume, key="aug.extra")
    _pin_paths_and_schedule(config)
    if is_first and not resume:
        for name, text in hydra_files.items():
            write_text(run_dir / HYDRA_FOLDER / name, text)
        _write_config(run_dir, config)  # before the data are read, which takes long: a killed run can be resumed
    datamodule = _prepare_data(settings)
    if datamodule.settings.classes is None:  # pinned, so that a resumed run has the classes that it began with
        names = datamodule.class_names
        config["data"]["classes"] = ONE if datamodule.classes.labels is None else list(names)
    if resume:
        _refuse_changed_data(run_dir, datamodule, point.fingerprint)
    network, weights = _build_network(settings, datamodule, resumed=point.step > 0)
    datamodule.prepare_batch = network.anchor_sampler()
    config["model"] = network.config.to_dict()  # with `auto` and null resolved, so that a resumed run has the same
    if is_first:
        _write_config(run_dir, config)
        if not (resume and (run_dir / SPLITS).exists()):
            write_json(run_dir / SPLITS, {**datamodule.split.to_dict(), "fingerprint": datamodule.fingerprint})
        echo(datamodule.split.description)
        training = [summary for summary in datamodule.summaries if summary.name in datamodule.split.train]
        print_data_check(training, settings.recipe, network, run_plan(network, datamodule, settings, run_dir))
    run.train(
        network,
        _metadata(datamodule, network, weights),
        datamodule,
        run_dir,
        optim=settings.optim,
        trainer=settings.trainer,
        checkpoint=settings.checkpoint,
        validation=settings.validation,
        seed=settings.seed,
        resume=resume,
        callbacks=callbacks,
        loggers=loggers,
        profiler=profiler,
        hyperparameters=config,
    )
    echo(f"Done: {invocation('predict')} {override('checkpoint', run_dir)} input=FILE_OR_FOLDER")


def _pin_paths_and_schedule(config: dict[str, Any]) -> None:
    """Resolve what depends on the working directory or the number of steps, which a resumed run may change."""
    for key in ("root", "images"):
        folder = config["data"].get(key)
        if folder and not (key == "images" and isinstance(folder, int)):  # the number of synthetic images
            config["data"][key] = str(Path(str(folder)).expanduser().resolve())
    if sets := config["data"].get("sets"):
        config["data"]["sets"] = [str(Path(str(path)).expanduser().resolve()) for path in sets]
    schedule = config["optim"].get("schedule") or {}
    if "total_steps" in schedule:
        schedule["total_steps"] = schedule["total_steps"] or config["trainer"]["max_steps"]


def _refuse_changed_data(run_dir: Path, datamodule: NucleiDataModule, in_checkpoint: str) -> None:
    """Refuse to resume on other data, which could move an image from validation to training."""
    recorded = read_splits(run_dir).get("fingerprint") or in_checkpoint  # empty if the run stopped before it read them
    if recorded and recorded != datamodule.fingerprint:
        raise InputError(
            f"The data have changed since the run in {run_dir} began (images, masks or their split): restore them to "
            "resume it (data.root=FOLDER sets the new folder of moved data), or start a new run."
        )


def _write_config(run_dir: Path, config: dict[str, Any]) -> None:
    write_text(run_dir / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)))


def _build_network(settings: RunSettings, datamodule: NucleiDataModule, *, resumed: bool) -> tuple[MaskRCNN, str]:
    """Build the network of step 0, reproducible by the seed, and log its initial weights.

    Args:
        settings: of the run.
        datamodule: set up, for the number of classes.
        resumed: initialize at random, since the last checkpoint replaces the weights.

    Returns:
        The network and a description of its initial weights.
    """
    start = Initialization(settings.model, "") if resumed else resolve_weights(settings.model)
    torch.manual_seed(settings.seed)
    network = build(start.config, num_classes=len(datamodule.class_names))
    chosen = network.config
    for sentence in (
        *start.sentences,
        *start.load(network).sentences(),
        resolve_norm_and_freeze(chosen.weights, chosen.norm, chosen.freeze_at)[2],
    ):
        echo(sentence)
    return network, start.words


def _prepare_data(settings: RunSettings) -> NucleiDataModule:
    """List, check and split the data; validation images are preprocessed as for prediction."""
    datamodule = build_datamodule(
        settings.data,
        train_transform=settings.recipe,
        val_transform=Preprocessing(),  # replaced below, since it depends on the sizes of the images
        seed=settings.seed,
        total_steps=settings.trainer.max_steps,
        accumulate=settings.trainer.accumulate,
    )
    datamodule.setup()
    if settings.trainer.overfit_batches is not None:
        datamodule.train_records = datamodule.train_records[: settings.trainer.overfit_batches * datamodule.batch_size]
        echo(f"Overfitting: training on {', '.join(record.name for record in datamodule.train_records)} alone.")
    require_visible_nuclei(datamodule, settings.recipe)
    datamodule.val_transform = settings.recipe.preprocessing(
        image_sizes(datamodule), getattr(datamodule.reader, "bits", None), datamodule.mpp
    )
    if datamodule.reader.synthetic:
        echo("NOTE: the data are SYNTHETIC, not photographed: results on them do not hold for real tissue.")
    return datamodule


def _metadata(datamodule: NucleiDataModule, network: MaskRCNN, weights: str) -> Metadata:
    """Return the metadata of every checkpoint of the run; `weights` describes the initial weights."""
    sizes, preprocessing = image_sizes(datamodule), datamodule.val_transform
    assert isinstance(preprocessing, Preprocessing)
    return Metadata(
        model=network.config.to_dict(),
        class_names=datamodule.class_names,
        category_ids=datamodule.classes.category_ids,
        class_colors=datamodule.classes.colors if len(datamodule.class_names) > 1 else None,
        scale=statistics.median(preprocessing.scale_of(*size) for size in sizes),
        preprocessing=preprocessing.to_dict(),
        largest_nucleus=_largest_nucleus(datamodule, preprocessing),
        fingerprint=datamodule.fingerprint,
        weights=weights,
    )


def _largest_nucleus(datamodule: NucleiDataModule, preprocessing: Preprocessing) -> float | None:
    """Return the 99.9th percentile of the nuclei's longer box sides, in network pixels; None without nuclei.

    It sets the overlap of tiles, which a single annotation of a whole region must not enlarge.
    """
    sides = [
        (summary.boxes[:, 2:] - summary.boxes[:, :2]).max(axis=1)
        * (preprocessing.scale_of(summary.height, summary.width) * summary.zoom)
        for summary in datamodule.summaries
        if len(summary)
    ]
    return float(np.percentile(np.concatenate(sides), 99.9)) if sides else None


def image_sizes(datamodule: NucleiDataModule) -> list[tuple[int, int]]:
    """Return (height, width) of every training and validation image in its own pixels."""
    return [(summary.height, summary.width) for summary in datamodule.summaries]
