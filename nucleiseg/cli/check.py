"""Check a run before its first step: the data, the limits of the network, disk space and time."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from nucleiseg.cli.groups import qualified
from nucleiseg.cli.train_settings import RunSettings
from nucleiseg.data.cache import Summary
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.dataset import NucleiDataset, collate
from nucleiseg.errors import InputError
from nucleiseg.label_maps import measure
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.progress import counted, echo
from nucleiseg.report.anchor_fit import AnchorLevel
from nucleiseg.report.data_check import RunPlan, data_check
from nucleiseg.training.divergence import broken_start
from nucleiseg.training.plan import CheckpointPlan, last_bytes, step_bytes
from nucleiseg.training.settings import CheckpointSettings
from nucleiseg.transforms.recipe import Recipe

RESIZE_MARGIN = 1.05
"""Tolerance of a resized mask's area around its area times the squared scale."""


def run_plan(
    network: MaskRCNN,
    datamodule: NucleiDataModule,
    settings: RunSettings,
    run_dir: Path,
) -> RunPlan:
    """Estimate the disk space and time of a run; the time from one measured step, if it trains on one CPU."""
    trainer = settings.trainer
    checkpoints = CheckpointPlan(trainer.max_steps, settings.checkpoint.every, keep=settings.checkpoint.keep)
    is_on_one_cpu = trainer.devices == 1 and trainer.accelerator_here == "cpu"
    return RunPlan(
        steps=checkpoints.max_steps,
        checkpoints=checkpoints.count(),
        checkpoint_bytes=step_bytes(network),
        last_bytes=last_bytes(network, optimizer_states=settings.optimizer_states),
        free_bytes=shutil.disk_usage(run_dir).free,
        seconds_per_step=trainer.accumulate * probe_step(network, datamodule) if is_on_one_cpu else None,
    )


def require_visible_nuclei(datamodule: NucleiDataModule, recipe: Recipe) -> None:
    """Refuse an `aug.min_area` that hides every nucleus of every training image from the network.

    Raises:
        InputError: naming the largest nucleus at the recipe's largest scale.
    """
    largest, where = 0.0, ""
    for record in datamodule.train_records:
        sample = datamodule.load(record)
        areas = measure(sample.layers).areas
        height, width = sample.image.shape[:2]
        scale = recipe.nominal_scale(height, width) * sample.zoom
        magnified = scale / min(recipe.scale_jitter or (1.0,))  # jitter divides the size of the crop
        crop_height, crop_width = recipe.crop_shape(height, width)
        whole_crop = crop_height * crop_width * scale**2
        shown = min(float(areas.max(initial=0)) * magnified**2, whole_crop)
        if shown > largest:
            largest, where = shown, sample.name
        if largest * RESIZE_MARGIN >= recipe.min_area:  # usually in the first image
            return
    if where:
        raise InputError(
            f"aug.min_area={recipe.min_area} hides every nucleus of {counted(len(datamodule.train_records), 'image')}: "
            f"the largest, in {where}, covers {largest:,.0f} pixels as the network would see it. Give aug.min_area a "
            "smaller number (1 keeps all), or enlarge the images with aug.resize.short."
        )


def probe_step(network: MaskRCNN, datamodule: NucleiDataModule) -> float:
    """Return the seconds of one forward and backward pass on the CPU, without changing the network.

    The batch is the run's first one. The second of two passes counts, since libraries initialize in the first.
    """
    keys = datamodule.sampler(total=1).batch(0)
    dataset = NucleiDataset(
        datamodule.reader,
        datamodule.train_records,
        datamodule.cache,
        datamodule.train_transform,
        datamodule.classes,
    )
    network.eval()  # running statistics stay as they are
    seconds = 0.0
    for _ in range(2):
        start = time.monotonic()
        with broken_start():
            losses = network(*collate([dataset[key] for key in keys]))
        torch.stack(list(losses.values())).sum().backward()
        seconds = time.monotonic() - start
    network.zero_grad(set_to_none=True)
    network.train()
    return seconds


def print_data_check(
    summaries: Sequence[Summary], recipe: Recipe, network: MaskRCNN, plan: RunPlan | None = None
) -> None:
    """Print what `data_check` finds, with command-line keys; `plan` is None if nothing will be written."""
    generator = network.rpn.anchor_generator
    levels = [
        AnchorLevel(stride, cell_anchors.numpy())
        for stride, cell_anchors in zip(generator.strides, generator.cell_anchors, strict=True)
    ]
    findings = data_check(summaries, recipe=recipe, anchors=levels, model=network.config, plan=plan)
    keys = {"model": network.config.to_dict(), "aug": recipe.to_dict(), "checkpoint": CheckpointSettings().to_dict()}
    for finding in findings:
        echo("Warning: " * (finding.level == "warning") + qualified(finding.sentence, keys))
