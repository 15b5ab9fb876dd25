"""`best.ckpt`: the best checkpoint as a file of its own, with the score threshold that suits the images it won on."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nucleiseg.files import atomic_path
from nucleiseg.leaderboard.board import Row
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.leaderboard.metrics import Metric
from nucleiseg.leaderboard.scored_candidates import Scored

BEST = "best.ckpt"

MADE_FROM = "made_from"
"""What the cache calls the [digest, threshold] of the checkpoint that a file of another threshold was made from."""


def goodness(candidate: Candidate, metric: Metric) -> float:
    """Return how good a checkpoint is on its images, the higher the better."""
    record = candidate.record
    return metric.goodness(float(metric.measured(record, np.ones((1, len(record.images))))[0]))


def best_of(row: Row, scored: Sequence[Scored], metric: Metric) -> Scored:
    """Return the checkpoint that stands for a row: on its first image set the best one; of equal ones the first.

    Values on different images are never compared: of several image sets (folds) the first one is taken, in the order of
    their digests, where the metric is defined.

    Args:
        row: of a leaderboard of these checkpoints.
        scored: the evaluated checkpoints.
        metric: what it is ranked by.
    """
    defined = [candidate for candidate in row.candidates if goodness(candidate, metric) > -math.inf]
    usable = defined or row.candidates
    first = min(candidate.image_set for candidate in usable)
    best = max((one for one in usable if one.image_set == first), key=lambda one: goodness(one, metric))
    return next(one for one in scored if one.job.file == best.checkpoint)


def write_best(best: Scored, path: Path, cache: EvaluationCache) -> None:
    """Write a checkpoint with the threshold chosen on its validation images, else its own; nothing if it is there.

    Args:
        best: the checkpoint.
        path: the file to write.
        cache: knows the digests of files.
    """
    facts, source = best.evaluation.facts, best.job.file
    if facts.chosen_threshold in (None, facts.stored_threshold):
        if not path.is_file() or cache.digest(path) != cache.digest(source):
            with atomic_path(path) as temporary:
                shutil.copyfile(source, temporary)
        return
    made_from = [cache.digest(source), facts.chosen_threshold]
    if path.is_file() and cache.get_json(cache.digest(path), MADE_FROM) == made_from:
        return
    from nucleiseg.models.checkpoint import read, write

    weights, metadata = read(source)
    write(path, weights, replace(metadata, score_threshold=facts.chosen_threshold))
    cache.put_json(cache.digest(path), MADE_FROM, made_from)


def source_of(digest: str, cache: EvaluationCache) -> str:
    """Return the digest of the checkpoint that a file was made from with another threshold; its own for any other."""
    match cache.get_json(digest, MADE_FROM) if digest else None:
        case [str(source), _]:
            return source
    return digest
