"""Choose the least score of a detection that counts: in counts, overlays and label images."""

from nucleiseg.inference.predictor import Predictor
from nucleiseg.progress import echo

COUNT_THRESHOLD = 0.5
"""Least score of a detection that counts, where neither validation nor the user chose one."""


def counting_threshold(predictor: Predictor, wanted: float | None) -> float:
    """Return the given threshold, else the checkpoint's, else 0.5; not below that of the predictor."""
    threshold = predictor.metadata.score_threshold if wanted is None else wanted
    if threshold is None:
        echo(
            "The checkpoint holds no score threshold chosen on validation: counts and overlays use the default, "
            f"{COUNT_THRESHOLD}, unless another is given."
        )
        threshold = COUNT_THRESHOLD
    if threshold < predictor.score_threshold:
        echo(
            f"Counts and overlays use the threshold {predictor.score_threshold:g} instead of {threshold:.4g}: the "
            "prediction keeps no score below it."
        )
    return max(threshold, predictor.score_threshold)
