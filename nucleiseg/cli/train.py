"""The command `train`: check a configuration, prepare data and network, and train."""

import statistics
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from nucleiseg.cli.check import require_visible_nuclei, run_plan, say_data_check
from nucleiseg.cli.groups import qualified_errors
from nucleiseg.cli.overrides import override
from nucleiseg.cli.run_status import record_failure
from nucleiseg.cli.train_settings import RunSettings
from nucleiseg.data.build import build_datamodule
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.errors import InputError
from nucleiseg.files import write_json, write_text
from nucleiseg.invocation import invocation
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN, build
from nucleiseg.models.norm import resolve_norm_and_freeze
from nucleiseg.models.pretrained import Initialization, resolve_weights
from nucleiseg.progress import echo
from nucleiseg.run_folder import CONFIG, SPLITS, read_splits
from nucleiseg.training import run
from nucleiseg.training.extensions import make_callbacks, make_loggers, make_profiler
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.ranks import is_first_rank
from nucleiseg.training.run_lock import run_lock
from nucleiseg.transforms.extra import check_extra
from nucleiseg.transforms.preprocessing import Preprocessing

HYDRA_FOLDER = ".hydra"
"""The folder of a run with what Hydra composed and the command line, as Hydra names it."""


def check(config: Mapping[str, Any]) -> None:
    """Check every key of a training without looking at any file; see `RunSettings.from_config`."""
    RunSettings.from_config(config)


def train(
    config: Mapping[str, Any], run_dir: Path, *, resume: bool = False, hydra_files: Mapping[str, str] | None = None
) -> None:
    """Check everything, log what is about to happen, and train.

    Args:
        config: the composed configuration of `conf/train.yaml` as nested dicts and lists; not changed.
        run_dir: the run's folder.
        resume: continue the run in `run_dir` where it stopped.
        hydra_files: what goes into the folder `.hydra` beside `config.yaml`: text by file name.

    Raises:
        InputError: for bad configuration or data, before any training; `status.json` records why. Where another
            process trains in the folder, or it holds a run already, nothing in it is touched.
    """
    trainer = config.get("trainer")
    max_steps = trainer.get("max_steps") if isinstance(trainer, Mapping) else None
    steps = max_steps if isinstance(max_steps, int) else 0
    with run_lock(run_dir), record_failure(run_dir, steps), qualified_errors(config):
        _train(deepcopy(dict(config)), run_dir, resume=resume, hydra_files=hydra_files or {})


def _train(config: dict[str, Any], run_dir: Path, *, resume: bool, hydra_files: Mapping[str, str]) -> None:
    is_first = is_first_rank()
    settings = RunSettings.from_config(config, complete=not resume, from_file=resume)
    callbacks, loggers = make_callbacks(settings.callbacks), make_loggers(settings.logger, run_dir)
    profiler = make_profiler(settings.trainer.profiler, run_dir, "trainer.profiler")
    point = run.starting_point(run_dir, settings.trainer, resume)
    echo(f"The run's folder: {run_dir}")
    check_extra(settings.recipe.extra, trusted=config.get("trust") or (), from_file=resume, key="aug.extra")
    _pin_root_and_schedule(config)
    if is_first and not resume:
        for name, text in hydra_files.items():
            write_text(run_dir / HYDRA_FOLDER / name, text)
        _write_config(run_dir, config)  # before the long look at the data: from here on the run can be resumed
    datamodule = _prepare_data(settings)
    if resume:
        fingerprint = read_splits(run_dir).get("fingerprint") or point.fingerprint
        # empty if the run stopped before it knew; other data could move an image from validation to training
        if fingerprint and fingerprint != datamodule.fingerprint:
            raise InputError(
                f"The data have changed since the run in {run_dir} began (images, masks or their split): bring them "
                "back to resume it (if they were moved, data.root=FOLDER says where they are), or start a new run."
            )
    network, weights = _build_network(settings, datamodule, resumed=point.step > 0)
    datamodule.prepare_batch = network.anchor_sampler()
    config["model"] = network.config.to_dict()  # what `auto` and null became, so that a resumed run asks nobody
    if is_first:
        _write_config(run_dir, config)
        if not (resume and (run_dir / SPLITS).exists()):
            write_json(run_dir / SPLITS, {**datamodule.split.to_dict(), "fingerprint": datamodule.fingerprint})
        _log_plan(settings, datamodule, network, run_dir)
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
    checkpoint = override("checkpoint", run_dir)
    echo(f"Done: {invocation('predict')} {checkpoint} input=FILE_OR_FOLDER")


def _pin_root_and_schedule(config: dict[str, Any]) -> None:
    """Write out what depends on the working directory or on the number of steps: a resume may change both."""
    if root := config["data"].get("root"):
        config["data"]["root"] = str(Path(str(root)).expanduser().resolve())
    schedule = config["optim"].get("schedule") or {}
    if "total_steps" in schedule:
        schedule["total_steps"] = schedule["total_steps"] or config["trainer"]["max_steps"]


def _write_config(run_dir: Path, config: dict[str, Any]) -> None:
    write_text(run_dir / CONFIG, OmegaConf.to_yaml(OmegaConf.create(config)))


def _log_plan(settings: RunSettings, datamodule: NucleiDataModule, network: MaskRCNN, run_dir: Path) -> None:
    names = set(datamodule.split.train)
    training = [summary for summary in datamodule.summaries if summary.name in names]
    checkpoints = CheckpointPlan(settings.trainer.max_steps, settings.checkpoint.every, keep=settings.checkpoint.keep)
    plan = run_plan(network, datamodule, checkpoints, settings.optimizer_states, settings.trainer, run_dir)
    echo(datamodule.split.description)
    say_data_check(training, settings.recipe, network, plan)


def _build_network(settings: RunSettings, datamodule: NucleiDataModule, *, resumed: bool) -> tuple[MaskRCNN, str]:
    """Make the network of step 0, the same for the same seed, and say what it starts from.

    Returns:
        The network, and what it starts from in words; a resumed run has both in its last checkpoint.
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
    """List, check and split the data; validation shows each image whole, as the checkpoint will when it predicts."""
    datamodule = build_datamodule(
        settings.data,
        train_transform=settings.recipe,
        val_transform=Preprocessing(),  # replaced below: the rule needs the sizes of the images
        seed=settings.seed,
        total_steps=settings.trainer.max_steps,
        accumulate=settings.trainer.accumulate,
    )
    datamodule.setup()
    if settings.trainer.overfit_batches is not None:
        datamodule.train_records = datamodule.train_records[: settings.trainer.overfit_batches * datamodule.batch_size]
        echo(f"Overfitting: only {', '.join(record.name for record in datamodule.train_records)} are trained on.")
    require_visible_nuclei(datamodule, settings.recipe)
    datamodule.val_transform = settings.recipe.preprocessing(
        image_sizes(datamodule), getattr(datamodule.reader, "bits", None), datamodule.mpp
    )
    if datamodule.reader.synthetic:
        echo(
            "NOTE: the data are SYNTHETIC, not photographed. Whatever this run measures says nothing about real tissue."
        )
    return datamodule


def _metadata(datamodule: NucleiDataModule, network: MaskRCNN, weights: str) -> Metadata:
    """Return what every checkpoint of the run records; `weights` is what it starts from, in words."""
    sizes, preprocessing = image_sizes(datamodule), datamodule.val_transform
    assert isinstance(preprocessing, Preprocessing)
    return Metadata(
        model=network.config.to_dict(),
        class_names=datamodule.class_names,
        scale=statistics.median(preprocessing.scale_of(*size) for size in sizes),
        preprocessing=preprocessing.to_dict(),
        largest_nucleus=_largest_nucleus(datamodule, preprocessing),
        fingerprint=datamodule.fingerprint,
        weights=weights,
    )


def _largest_nucleus(datamodule: NucleiDataModule, preprocessing: Preprocessing) -> float | None:
    """Return the longer side of a box that 99.9 % of the nuclei do not exceed, in network pixels; None without any.

    A percentile, since a single annotation of a whole region would make every tile of a prediction large.
    """
    sides = [
        (summary.boxes[:, 2:] - summary.boxes[:, :2]).max(axis=1)
        * preprocessing.scale_of(summary.height, summary.width)
        for summary in datamodule.summaries
        if len(summary)
    ]
    return float(np.percentile(np.concatenate(sides), 99.9)) if sides else None


def image_sizes(datamodule: NucleiDataModule) -> list[tuple[int, int]]:
    """Return (height, width) of every image, training and validation, in source pixels."""
    return [(summary.height, summary.width) for summary in datamodule.summaries]
