"""From the plain keys of `conf/predict.yaml` to predictions: what `predict.py` calls, apart from Hydra."""

import os
from pathlib import Path

from nucleiseg.doors.prediction import predict_to_folder
from nucleiseg.inference.images import find_images
from nucleiseg.inference.predictor import Predictor
from nucleiseg.progress import say


def predict(
    *,
    checkpoint: str | os.PathLike[str],
    input: str | os.PathLike[str],  # noqa: A002
    output: str | os.PathLike[str] = "predictions",
    ids: str | os.PathLike[str] | None = None,
    score_threshold: float | None = 0.05,
    count_threshold: float | None = None,
    nms: float | None = None,
    detections: int | None = None,
    short: int | None = None,
    long: int | None = None,
    overlays: bool = True,
    device: str = "auto",
) -> int:
    """Predict images with a checkpoint, and say what became of them; the keys are those of `conf/predict.yaml`.

    Returns:
        The number of images that failed.

    Raises:
        InputError: if the checkpoint or the input cannot be used at all.
    """
    images = find_images(input, ids)
    predictor = Predictor.from_checkpoint(
        checkpoint,
        short=short,
        long=long,
        score_threshold=score_threshold,
        nms=nms,
        detections=detections,
        device=device,
    )
    summary = predict_to_folder(predictor, images, output, count_threshold, overlays)
    nuclei = sum(count.count for count in summary.counts)
    say(f"{summary.done} images with {nuclei:,} nuclei: {Path(output) / 'answer.zip'}, counts.csv, overlays.")
    if summary.failed:
        say(f"{len(summary.failed)} images failed: {', '.join(summary.failed)}.")
    return len(summary.failed)
