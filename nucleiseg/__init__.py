"""Nuclei instance segmentation with Mask R-CNN: PyTorch Lightning + Hydra, detectron2's numerics, honest metrics."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nucleiseg.inference.predictor import Predictor

from nucleiseg.version import __version__ as __version__


def load(checkpoint: str | os.PathLike[str], device: str = "auto") -> "Predictor":
    """Load a checkpoint for prediction: `nucleiseg.load(FILE).predict(image)`.

    Args:
        checkpoint: a file that `train.py` wrote (`checkpoints/step_002400.ckpt`, `last.ckpt`), a run's folder (its best
            step), or `nuclei`, the weights that are installed with the package.
        device: "auto" takes a CUDA GPU where there is one, else the CPU; or any name that torch knows.

    Returns:
        The network with its thresholds and scale; see `Predictor.from_checkpoint` for other `PredictionSettings`.

    Raises:
        InputError: if the file is missing or is not such a checkpoint.
    """
    # imported here, so that `import nucleiseg` does not load torch
    from nucleiseg.inference.predictor import Predictor
    from nucleiseg.inference.settings import PredictionSettings
    from nucleiseg.run_tables import find_checkpoint

    return Predictor.from_checkpoint(find_checkpoint(Path(checkpoint)), PredictionSettings(device=device))
