"""The columns of `metrics.csv` and `index.csv`, which are TensorBoard's tags too, and how their values are written."""

from collections.abc import Mapping

import numpy as np

from nucleiseg.training.module import LOSSES

TRAIN_COLUMNS = ("train/loss", *(f"train/{name}" for name in LOSSES))
VAL_COLUMNS = ("val/loss", *(f"val/{name}" for name in LOSSES), "val/ap50", "val/ap50_100", "val/time")
METRICS_COLUMNS = ("step", *TRAIN_COLUMNS, "lr", "time/step", "time/data", *VAL_COLUMNS)
INDEX_COLUMNS = ("step", "path", "time", "train/loss", "val/loss", "val/ap50", "val/ap50_100")


def as_text(row: Mapping[str, float]) -> dict[str, str]:
    """Return the shortest decimals that round trip, to float32 for the training losses; seconds as four digits."""
    seconds = {key: f"{value:.4g}" for key, value in row.items() if "time" in key}
    losses = {key: str(np.float32(value)) for key, value in row.items() if key in TRAIN_COLUMNS}
    return {key: str(value) for key, value in row.items()} | losses | seconds
