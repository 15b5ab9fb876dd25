"""Score a checkpoint on the study's held-out images by type, with 95 % intervals.

    python experiments/nuclei/by_type.py CHECKPOINT DIR/stage1_train experiments/nuclei/results.csv

One row a type and metric: fluorescence, H&E, bright field, all images, and the mean of the three types. Intervals are
those of the leaderboard, a bootstrap over images (nucleiseg.leaderboard.bootstrap).
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import yaml

from nucleiseg.data.readers.folders import FoldersReader
from nucleiseg.evaluation.scoring import ScoredImage
from nucleiseg.inference.count_threshold import counting_threshold
from nucleiseg.inference.predictor import Predictor
from nucleiseg.leaderboard.bootstrap import interval
from nucleiseg.leaderboard.metrics import METRICS
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.progress import track
from nucleiseg.run_tables import find_checkpoint

SHOWN = ("ap50", "ap75", "ap", "pq", "aji", "f1", "dice", "count_mae", "count_bias")
RESAMPLES = 2000
TYPES = ("fluorescence", "H&E", "bright field")


def image_type(pixels: np.ndarray) -> str:
    """Return the type of an (H, W, 3) uint8 RGB image: colored images are H&E, dark gray ones fluorescence."""
    spread = pixels.max(axis=2).astype(int) - pixels.min(axis=2)
    if spread.mean() > 3:
        return "H&E"
    return "fluorescence" if np.median(pixels) < 100 else "bright field"


def score(checkpoint: Path, root: Path) -> dict[str, EvaluationRecord]:
    """Predict the held-out images and evaluate them by type; "all" holds every image."""
    names = yaml.safe_load(Path(__file__).with_name("experiment.yaml").read_text(encoding="utf-8"))["data"]["val"]
    predictor = Predictor.from_checkpoint(checkpoint)
    threshold = counting_threshold(predictor, None)
    reader = FoldersReader(root=root)
    records = {record.name: record for record in reader.records()}
    scored: dict[str, list[ScoredImage]] = defaultdict(list)
    for number, name in enumerate(track(names, "Predicting images"), 1):
        sample = reader.read(records[name])
        image = ScoredImage.of(sample, number, predictor.predict(sample.image))
        for group in (image_type(sample.image), "all"):
            scored[group].append(image)
    return {
        group: EvaluationRecord.of(
            [image.truth for image in images],
            {image.truth.image_id: image.found for image in images},
            threshold,
            seconds_per_image=float("nan"),
            device="",
        )
        for group, images in scored.items()
    }


def rows(records: dict[str, EvaluationRecord]) -> Iterator[Sequence[object]]:
    """Yield group, images, nuclei, metric, value, and both ends of its interval."""
    rng = np.random.default_rng(0)
    weights = {}
    for group, record in records.items():
        count = len(record.images)
        weights[group] = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    for key in SHOWN:
        metric = METRICS[key]
        values, resampled = {}, {}
        for group, record in records.items():
            values[group] = float(metric.resampled(record, np.ones((1, len(record.images)), int))[0])
            resampled[group] = metric.resampled(record, weights[group])
            ends = metric.clipped(interval(resampled[group], values[group], [len(record.images)]))
            nuclei = sum(image.truths for image in record.images)
            yield group, len(record.images), nuclei, key, values[group], *ends
        mean = float(np.mean([values[group] for group in TYPES]))
        sizes = [len(records[group].images) for group in TYPES]
        ends = metric.clipped(interval(np.mean([resampled[group] for group in TYPES], axis=0), mean, sizes))
        yield "mean of types", sum(sizes), sum(image.truths for image in records["all"].images), key, mean, *ends


def main(checkpoint: str, root: str, output: str) -> None:
    """Write the table."""
    records = score(find_checkpoint(Path(checkpoint)), Path(root))
    with Path(output).open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("images of type", "images", "nuclei", "metric", "value", "low", "high"))
        for *facts, value, low, high in rows(records):
            writer.writerow((*facts, *(f"{number:.4f}" for number in (value, low, high))))


if __name__ == "__main__":
    main(*sys.argv[1:])
