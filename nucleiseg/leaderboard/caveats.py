"""Describe the limits of a leaderboard in sentences: ties, missing folds, optimistic numbers, failed runs."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

from nucleiseg.data.readers import READERS
from nucleiseg.errors import some
from nucleiseg.inference.settings import PredictionSettings, ScoredPredictionSettings
from nucleiseg.leaderboard.candidates import Kind, Scored
from nucleiseg.leaderboard.entries import Entry
from nucleiseg.leaderboard.metrics import MetricSpec
from nucleiseg.progress import counted
from nucleiseg.runs import Run
from nucleiseg.setting_sentences import shown

FEW_IMAGES = 10
"""Below this number of images, intervals vary strongly with the choice of images."""

FEW_SEEDS = 5
"""Below this number of seeds, intervals are too narrow: resamples of n seeds show (n - 1) / n of their variance."""

ENDINGS = {"running": "is running or was killed", "interrupted": "was interrupted", "failed": "failed"}
"""State of an unfinished run -> its description."""

NOT_REAL = "no number measured here holds for real tissue"


def describe_ties(
    rank_by: str,
    *,
    tied: Sequence[int],
    unknown: Sequence[int],
    rows: int,
    images: Sequence[int],
    defined: Sequence[int],
    seeds: int,
) -> str:
    """Describe which rows of a table are statistically indistinguishable from the best, and the limits of the test.

    Args:
        rank_by: key of the metric.
        tied: ranks of the rows indistinguishable from the best, including it; ascending.
        unknown: ranks of the rows whose interval of the difference to the best is unknown.
        rows: number of rows.
        images: number of images of each image set.
        defined: number of images of each image set where the metric is defined.
        seeds: smallest number of distinct seeds that a row has in an image set.
    """
    these = "this 1 image" if sum(images) == 1 else f"these {sum(images)} images"
    these += f" of {len(images)} folds" if len(images) > 1 else ""
    if not defined:
        return f"{rank_by} is undefined on {these}, which have no true instance: the order is arbitrary."
    if rows == 1:
        return f"There is one row on {these}, and none to compare it with."
    if min(defined) == 1:
        alone = "One image doesn't" if len(images) == 1 else "A fold of one image doesn't"
        return f"{alone} show how results vary: no row can be distinguished from another. Validate on more images."
    if unknown:
        which = f"row{'s' * (len(unknown) > 1)} {ranks(unknown)}"
        return f"No interval could be computed for {which} on {these}: their differences may be due to chance."
    where = f"on {these} (95 % paired bootstrap of {rank_by})"
    if len(tied) == 1:
        sentences = [f"The best row is significantly better than all others {where}."]
    elif len(tied) == rows:
        sentences = [f"All {rows} rows are statistically indistinguishable {where}."]
    else:
        others = f"Row {tied[1]} is" if len(tied) == 2 else f"Rows {ranks(tied[1:])} are"
        sentences = [f"{others} statistically indistinguishable from the best {where}."]
        if tied[-1] > len(tied):
            sentences.append("A tied row below one that isn't varies more from image to image.")
    return " ".join([*sentences, *_limits(images, defined, seeds)])


def _limits(images: Sequence[int], defined: Sequence[int], seeds: int) -> list[str]:
    """Return sentences on the limits of the intervals; see `describe_ties`."""
    sentences = []
    if missing := len(images) - len(defined):
        sentences.append(f"{counted(missing, 'fold')} without truth {'is' if missing == 1 else 'are'} left out.")
    if sum(defined) < FEW_IMAGES:
        sentences.append(f"So few images ({sum(defined)}) give rough intervals.")
    if seeds == 1:
        sentences.append("The intervals don't include the effect of another seed: some rows have a single one.")
    elif seeds < FEW_SEEDS:
        sentences.append(f"The intervals are too narrow for the effect of other seeds: some rows have {seeds}.")
    if len(defined) > 1:
        sentences.append("Each fold is a separate training; the intervals include its noise only if folds have seeds.")
    return sentences


def ranks(numbers: Sequence[int]) -> str:
    """Return ascending numbers as text.

    >>> ranks([1, 2, 3, 5, 7])
    '1 to 3, 5 and 7'
    """
    runs = []
    for _, pairs in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in pairs]
        runs += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    return " and ".join([", ".join(runs[:-1]), runs[-1]] if len(runs) > 1 else runs)


def entry_caveats(found: Sequence[Entry], metric: MetricSpec) -> list[str]:
    """Report missing folds and seeds, repeated runs, and thresholds chosen on the scored images."""
    caveats = []
    if (tables := len({entry.image_sets for entry in found})) > 1:
        caveats.append(
            f"Not all rows were scored on the same images: there are {tables} tables, whose numbers can't be compared."
        )
    if metric.has_threshold:
        caveats.append(
            f"{metric.key} uses detections above a score threshold that was chosen in validation, for each checkpoint: "
            "where that was on these images, the values are slightly optimistic, which the intervals don't show."
        )
    missing_folds: dict[tuple[str, int, int], list[Entry]] = {}
    missing_seeds: dict[tuple[str, int, int], list[Entry]] = {}
    repeats: dict[tuple[str, ...], None] = {}
    for entry in found:
        own = set(entry.image_sets)
        most_sets = max((len(other.image_sets) for other in found if own < set(other.image_sets)), default=0)
        if most_sets:
            missing_folds.setdefault((entry.setting, len(own), most_sets), []).append(entry)
        most_seeds = max(other.seeds for other in found if other.image_sets == entry.image_sets)
        if entry.seeds < most_seeds:
            missing_seeds.setdefault((entry.setting, entry.seeds, most_seeds), []).append(entry)
        runs: dict[tuple[str, int], set[str]] = {}
        for candidate in entry.candidates:
            runs.setdefault((candidate.image_set, candidate.seed), set()).add(candidate.run)
        repeats |= dict.fromkeys(tuple(sorted(names)) for names in runs.values() if len(names) > 1)
    caveats += [
        f"{setting}, {_steps(rows)}: scored on {have} of {counted(most, 'set')} of validation images (folds) that "
        "others cover, so it is in another table. Runs may be missing, killed or unfinished."
        for (setting, have, most), rows in missing_folds.items()
    ]
    caveats += [
        f"{setting}, {_steps(rows)}: {counted(have, 'seed')}, while others in the table have {most}."
        for (setting, have, most), rows in missing_seeds.items()
    ]
    caveats += [
        f"{' and '.join(names)} have the same setting, seed and images: their average counts as one seed."
        for names in repeats
    ]
    return caveats


def scored_caveats(scored: Sequence[Scored], metric: MetricSpec) -> list[str]:
    """Report checkpoints without detections, and optimistic numbers.

    Args:
        scored: the evaluated checkpoints.
        metric: what they are ranked by; `entry_caveats` has the sentence for one that uses a threshold.
    """
    silent: dict[str, list[Scored]] = {}
    trained_on: dict[tuple[int, int], dict[str, None]] = {}
    for item in scored:
        run, images = item.job.run, item.evaluation.record.images
        if any(image.truths for image in images) and not any(image.results.masks for image in images):
            silent.setdefault(run.name, []).append(item)
        if seen := len({image.name for image in images}.intersection(run.splits.get("train") or ())):
            trained_on.setdefault((seen, len(images)), {})[run.name] = None
    caveats = [
        f"{name}, {_steps([item.job for item in items])}: no detection on any image, at any score that it keeps."
        for name, items in silent.items()
    ]
    for (seen, total), names in trained_on.items():
        were, their = ("was", "its") if len(names) == 1 else ("were", "their")
        caveats.append(
            f"{some(names)} {were} trained on {seen} of these {counted(total, 'image')}, judging by their names: "
            f"{their} numbers are too good."
        )
    if not metric.has_threshold and any(item.evaluation.info.chosen_threshold is not None for item in scored):
        caveats.append(
            "Label maps and counts (aji, pq, dice, f1, count_mae ...) use the score threshold that is best on these "
            "validation images, as best.ckpt then does: slightly optimistic, for all checkpoints alike."
        )
    return caveats


def run_caveats(runs: Sequence[Run], data: Mapping[str, Any] | None, prediction: PredictionSettings) -> list[str]:
    """Report unfinished runs, synthetic images and non-default prediction settings.

    Args:
        runs: the runs.
        data: the keys of the `data` group that all runs are scored on; None: each on its own.
        prediction: settings of all predictions.
    """
    caveats = []
    for run in runs:
        state = str(run.status.get("state"))
        if state in ENDINGS:
            steps = f"step {run.status.get('steps', '?')} of {run.status.get('of', '?')}"
            reason = str(run.status.get("reason") or "").strip()
            why = f": {reason}" if reason and state == "failed" else ""
            ranked = ": its checkpoints so far are ranked" if state == "running" and run.index else ""
            caveats.append(f"{run.name} {ENDINGS[state]} ({steps}){why}{ranked}.")
    usual = ScoredPredictionSettings()
    if prediction.precision != usual.precision:
        caveats.append(
            f"All checkpoints predicted with precision={prediction.precision}: metrics may differ slightly from "
            f"precision={usual.precision}."
        )
    if (views := prediction.tta.views) > 1:
        keys = ", ".join(f"{key} {shown(value)}" for key, value in prediction.tta.to_dict().items() if value)
        caveats.append(
            f"All checkpoints predicted with test-time augmentation of {views} views ({keys}): compare with scores of "
            "the same views."
        )
    for key, things in (("tile", "tiles"), ("mask_nms", "mask NMS"), ("mask_nms_inside", "mask NMS")):
        if (value := getattr(prediction, key)) != getattr(usual, key):
            caveats.append(
                f"All checkpoints predicted with {key}={shown(value)}: compare with scores of the same {things}."
            )
    if synthetic := synthetic_note(runs, data):
        caveats.append(synthetic)
    return caveats


def synthetic_note(runs: Sequence[Run], data: Mapping[str, Any] | None) -> str:
    """Report synthetic images: of the training, of the scoring, or both.

    Args:
        runs: the runs.
        data: the keys of the `data` group that all runs are scored on; None: each on its own.

    Returns:
        A sentence; empty if no image is synthetic.
    """
    everyone = [run.name for run in runs]
    trained = [run.name for run in runs if _is_synthetic(run.config.get("data"))]
    scored = trained if data is None else everyone if _is_synthetic(data) else []
    who = "all runs" if trained == everyone else some(trained)
    if not trained and not scored:
        return ""
    if trained == scored == everyone:
        return f"The data are SYNTHETIC, not photographed: {NOT_REAL}."
    if not scored:
        return f"Trained on SYNTHETIC images, scored on photographs: {who}."
    if trained == scored:
        return f"Trained and scored on SYNTHETIC images: {who}. Their numbers don't hold for real tissue."
    others = f"Trained on such images too: {who}." if trained else "The runs were trained on other images."
    return f"All runs are scored on SYNTHETIC images, not on photographs: {NOT_REAL}. {others}"


def _is_synthetic(data: object) -> bool:
    """Return whether a `data` group names synthetic images."""
    reader = READERS.get(str(data.get("reader"))) if isinstance(data, Mapping) else None
    return bool(getattr(reader, "synthetic", False))


class _Checkpoint(Protocol):
    """A checkpoint or several: entries and jobs."""

    @property
    def step(self) -> int: ...
    @property
    def kind(self) -> Kind: ...


def _steps(checkpoints: Sequence[_Checkpoint]) -> str:
    """Return the steps of checkpoints as text; an average is named by its last step."""
    steps = [f"{item.step}" + " (averaged weights)" * (item.kind == "average") for item in checkpoints]
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(steps[:-1])} and {steps[-1]}"
