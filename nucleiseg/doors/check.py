"""What a run says before its first step: the data as the network will see them, and what the run will take."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from nucleiseg.data.cache import Summary
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.progress import say
from nucleiseg.report.anchor_fit import AnchorLevel
from nucleiseg.report.data_check import Limits, RunPlan, data_check
from nucleiseg.training.plan import CheckpointPlan
from nucleiseg.training.settings import OptimSettings
from nucleiseg.transforms.recipe import Recipe


def limits(model: ModelConfig) -> Limits:
    """Return how many boxes of an image the network goes on with."""
    return Limits(model.rpn.post_nms_train, model.rpn.post_nms_test, model.detection.limit)


def run_plan(network: MaskRCNN, plan: CheckpointPlan, optim: OptimSettings, run_dir: Path) -> RunPlan:
    """Return what a run will write into `run_dir`, and how much room there is."""
    weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    states = 2 if optim.name == "adamw" else 1
    return RunPlan(
        steps=plan.max_steps,
        every=plan.every,
        checkpoint_bytes=weights,
        last_bytes=(1 + states) * weights,
        free_bytes=shutil.disk_usage(run_dir).free,
    )


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
    for finding in findings:
        say(f"Warning: {finding.sentence}" if finding.level == "warning" else finding.sentence)
