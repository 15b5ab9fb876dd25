"""What makes numbers too good: images that a run was trained on, thresholds that were chosen on what is scored."""

from collections.abc import Sequence

from nucleiseg.errors import some
from nucleiseg.leaderboard.metrics import Metric
from nucleiseg.leaderboard.scored_candidates import Scored
from nucleiseg.progress import counted


def notes_on_honesty(scored: Sequence[Scored], metric: Metric) -> list[str]:
    """Say which numbers are too good, and why.

    Args:
        scored: the evaluated checkpoints.
        metric: what they are ranked by; the leaderboard itself says so of one that uses a threshold.
    """
    notes = _trained_on(scored)
    if not metric.has_threshold and any(one.evaluation.facts.chosen_threshold is not None for one in scored):
        notes.append(
            "Label maps and counts (aji, pq, dice, f1, count_mae ...) use the score threshold that is best on these "
            "very validation images, as best.ckpt then does: they are a little too good, alike for all checkpoints."
        )
    return notes


def _trained_on(scored: Sequence[Scored]) -> list[str]:
    """Name the runs that were trained on images that they are scored on, as far as the images' names tell."""
    runs: dict[tuple[int, int], dict[str, None]] = {}
    for one in scored:
        names = {image.name for image in one.evaluation.record.images}
        if seen := len(names.intersection(one.job.run.splits.get("train") or ())):
            runs.setdefault((seen, len(names)), {})[one.job.run.name] = None
    return [
        f"{some(list(found))} {'was' if len(found) == 1 else 'were'} trained on {seen} of these "
        f"{counted(images, 'image')}, by their names: {'its' if len(found) == 1 else 'their'} numbers are too good."
        for (seen, images), found in runs.items()
    ]
