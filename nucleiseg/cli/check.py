"""What a run says before its first step: the data as the network will see them, and what the run will take."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from nucleiseg.cli.groups import qualified
from nucleiseg.data.cache import Summary
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.dataset import NucleiDataset, collate
from nucleiseg.data.sampler import StepSampler
from nucleiseg.errors import InputError
from nucleiseg.label_maps import measure
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.progress import counted, echo
from nucleiseg.report.anchor_fit import AnchorLevel
from nucleiseg.report.data_check import Limits, RunPlan, data_check
from nucleiseg.training.divergence import broken_start
from nucleiseg.training.plan import CheckpointPlan, last_bytes, step_bytes
from nucleiseg.training.settings import CheckpointSettings, TrainerSettings
from nucleiseg.transforms.recipe import Recipe

RESIZE_MARGIN = 1.05
"""A resized mask has some pixels more or fewer than its area times the squared scale."""


def limits(model: ModelConfig) -> Limits:
    """Return the per-image limits on RPN candidates, proposals and detections."""
    return Limits(
        train_candidates=model.rpn.pre_nms_train,
        test_candidates=model.rpn.pre_nms_test,
        train_proposals=model.rpn.post_nms_train,
        test_proposals=model.rpn.post_nms_test,
        detections=model.detection.limit,
    )


def run_plan(
    network: MaskRCNN,
    datamodule: NucleiDataModule,
    checkpoints: CheckpointPlan,
    optimizer_states: int,
    trainer: TrainerSettings,
    run_dir: Path,
) -> RunPlan:
    """Return what a run will write into `run_dir` and how long it will take, from one step tried out."""
    return RunPlan(
        steps=checkpoints.max_steps,
        checkpoints=checkpoints.count(),
        checkpoint_bytes=step_bytes(network),
        last_bytes=last_bytes(network, optimizer_states=optimizer_states),
        free_bytes=shutil.disk_usage(run_dir).free,
        seconds_per_step=trainer.accumulate * probe_step(network, datamodule) if is_on_one_cpu(trainer) else None,
    )


def require_visible_nuclei(datamodule: NucleiDataModule, recipe: Recipe) -> None:
    """Refuse an `aug.min_area` that hides every nucleus of every training image from the network.

    Areas are scaled as the recipe shows them at its largest (jitter included), so the first image usually answers.

    Args:
        datamodule: set up, so that its training images are known.
        recipe: their augmentation.

    Raises:
        InputError: naming the largest nucleus as the network would see it.
    """
    largest, where = 0.0, ""
    for record in datamodule.train_records:
        sample = datamodule.cache.load(datamodule.reader, record)
        areas = measure(sample.layers).areas
        height, width = sample.image.shape[:2]
        scale = recipe.nominal_scale(height, width)
        magnified = scale / min(recipe.scale_jitter or (1.0,))
        crop_height, crop_width = recipe.crop_shape(height, width)
        whole_crop = crop_height * crop_width * scale**2
        shown = min(float(areas.max(initial=0)) * magnified**2, whole_crop)
        if shown > largest:
            largest, where = shown, sample.name
        if largest * RESIZE_MARGIN >= recipe.min_area:
            return
    if where:
        raise InputError(
            f"aug.min_area={recipe.min_area} hides every nucleus of {counted(len(datamodule.train_records), 'image')}: "
            f"the largest, in {where}, covers {largest:,.0f} pixels as the network would see it. Give aug.min_area a "
            "smaller number (1 keeps all), or enlarge the images with aug.resize.short."
        )


def is_on_one_cpu(trainer: TrainerSettings) -> bool:
    """Return whether a run will train on this computer's CPU, in one process."""
    return trainer.devices == 1 and trainer.accelerator_here == "cpu"


def probe_step(network: MaskRCNN, datamodule: NucleiDataModule) -> float:
    """Return the seconds that losses and gradients of one batch take on the CPU, leaving no trace in the network.

    In eval mode, so that no running statistic moves; the batch is the run's own first one. Of two tries the second
    counts: in the first, the libraries set themselves up.
    """
    keys = StepSampler(len(datamodule.train_records), datamodule.batch_size, total=1, seed=datamodule.seed).batch(0)
    dataset = NucleiDataset(datamodule.reader, datamodule.train_records, datamodule.cache, datamodule.train_transform)
    network.eval()
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


def say_data_check(
    summaries: Sequence[Summary], recipe: Recipe, network: MaskRCNN, plan: RunPlan | None = None
) -> None:
    """Print the data check, warnings marked as such.

    Args:
        summaries: the images to train on.
        recipe: their augmentation.
        network: its anchors and limits.
        plan: what the run will write; None where nothing will be written.
    """
    generator = network.rpn.anchor_generator
    levels = [
        AnchorLevel(stride, cell_anchors.numpy())
        for stride, cell_anchors in zip(generator.strides, generator.cell_anchors, strict=True)
    ]
    findings = data_check(summaries, recipe=recipe, anchors=levels, limits=limits(network.config), plan=plan)
    keys = {"model": network.config.to_dict(), "aug": recipe.to_dict(), "checkpoint": CheckpointSettings().to_dict()}
    for finding in findings:
        echo("Warning: " * (finding.level == "warning") + qualified(finding.sentence, keys))
