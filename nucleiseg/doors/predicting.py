"""From the plain keys of `conf/predict.yaml` to predictions: what `predict.py` calls, apart from Hydra."""

import os
from pathlib import Path

from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.doors.prediction import predict_to_folder
from nucleiseg.errors import InputError
from nucleiseg.inference.images import find_images
from nucleiseg.inference.predictor import Predictor
from nucleiseg.progress import say
from nucleiseg.training.tables import read_rows

DEMO = DemoReader(images=4, size=384, seed=1)
"""What `input=demo` stands for, where there is no file or folder of that name: images that no demo run has seen (those
are drawn from seed 0)."""


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
    predictor = Predictor.from_checkpoint(
        find_checkpoint(Path(checkpoint)),
        short=short,
        long=long,
        score_threshold=score_threshold,
        nms=nms,
        detections=detections,
        device=device,
    )
    folder = Path(output)
    source = draw_demo(folder / "demo_data") if input == "demo" and not Path(input).exists() else Path(input)
    summary = predict_to_folder(predictor, find_images(source, ids), folder, count_threshold, overlays)
    nuclei = sum(count.count for count in summary.counts)
    say(f"{summary.done} images with {nuclei:,} nuclei: {folder / 'answer.zip'}, counts.csv, images.json, overlays.")
    if summary.failed:
        say(f"{len(summary.failed)} images failed: {', '.join(summary.failed)}.")
    return len(summary.failed)


def draw_demo(folder: Path) -> Path:
    """Draw the demo's images with their masks into a folder, and say so; return the folder."""
    write_folders(DEMO, folder)
    say(f"Drew {DEMO.images} images with their masks into {folder}.")
    say("NOTE: they are DRAWN, not photographed. What is found in them says nothing about real tissue.")
    return folder


def find_checkpoint(path: Path) -> Path:
    """Return a checkpoint file: the path itself, or of a run's folder the step with the best `val/ap50`.

    A run without validation gives its last step.

    Raises:
        InputError: if the folder is no run with a checkpoint.
    """
    if not path.is_dir():
        return path
    rows = read_rows(path / "index.csv")
    if not rows:
        raise InputError(f"checkpoint={path} is a folder without index.csv; name a run, or a file of its checkpoints.")
    best = max(rows, key=lambda row: (float(row["val/ap50"] or -1), int(row["step"])))
    say(f"Using {best['path']}, the best of {path} by val/ap50 ({best['val/ap50'] or 'not validated'}).")
    return path / best["path"]
