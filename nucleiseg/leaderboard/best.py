"""Write `best.ckpt`: a copy of the best checkpoint with the score threshold chosen on its validation images."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nucleiseg.files import atomic_path
from nucleiseg.leaderboard.board import Leaderboard, Row
from nucleiseg.leaderboard.cache import EvaluationCache
from nucleiseg.leaderboard.candidates import Candidate, Scored
from nucleiseg.leaderboard.metrics import MetricSpec
from nucleiseg.progress import counted

BEST = "best.ckpt"

MADE_FROM = "made_from"
"""Cache entry of a copy with another threshold: the original's digest, and the threshold."""


def best_of(row: Row, scored: Sequence[Scored], metric: MetricSpec) -> Scored:
    """Return the best checkpoint of a row on its first image set; of equal ones the first.

    Values on different images cannot be compared: of several image sets (folds), the first with a defined metric is
    used, in the order of digests.

    Args:
        row: of a leaderboard of these checkpoints.
        scored: the evaluated checkpoints.
        metric: what it is ranked by.
    """

    def goodness(candidate: Candidate) -> float:
        once = np.ones((1, len(candidate.record.images)))
        return metric.goodness(float(metric.measured(candidate.record, once)[0]))

    usable = [candidate for candidate in row.candidates if goodness(candidate) > -math.inf] or row.candidates
    first = min(candidate.image_set for candidate in usable)
    best = max((candidate for candidate in usable if candidate.image_set == first), key=goodness)
    return next(item for item in scored if item.job.file == best.checkpoint)


def best_caveats(board: Leaderboard, best: Candidate) -> list[str]:
    """Explain how `best.ckpt` was chosen; empty if there was no choice.

    Args:
        board: the leaderboard.
        best: the checkpoint, one of the first table's first row.
    """
    table = board.tables[0]
    row = table.rows[0]
    rivals = [candidate for candidate in row.candidates if candidate.image_set == best.image_set]
    reasons = []
    if len(table.image_sets) > 1:
        folds = counted(len(table.image_sets), "fold")
        reasons.append(f"of the best row's {folds} the first by name, since values on different images don't compare")
    if len(rivals) > 1:
        reasons.append(f"of {counted(len(rivals), 'run')} on the same images the best by {table.rank_by}")
    if len(board.tables) > 1:
        images = counted(len(table.images), "image")
        reasons.append(f"from table 1 ({images}), which can't be compared with the best rows of other tables")
    return [f"{BEST} is {best.run}, {row.name}: {'; '.join(reasons)}."] if reasons else []


def write_best(best: Scored, path: Path, cache: EvaluationCache) -> None:
    """Write a checkpoint with the threshold chosen on its validation images, else its own; skip an up-to-date file.

    Args:
        best: the checkpoint.
        path: the file to write.
        cache: stores the digests of files.
    """
    info, source = best.evaluation.info, best.job.file
    if info.chosen_threshold in (None, info.stored_threshold):
        if not path.is_file() or cache.digest(path) != cache.digest(source):
            with atomic_path(path) as temporary:
                shutil.copyfile(source, temporary)
        return
    made_from = [cache.digest(source), info.chosen_threshold]
    if path.is_file() and cache.get_json(cache.digest(path), MADE_FROM) == made_from:
        return
    from nucleiseg.models.checkpoint import read, write

    weights, metadata = read(source)
    write(path, weights, replace(metadata, score_threshold=info.chosen_threshold))
    cache.put_json(cache.digest(path), MADE_FROM, made_from)


def source_digest(digest: str, cache: EvaluationCache) -> str:
    """Return the digest of the checkpoint that a file is a copy of, with another threshold; else the given one."""
    match cache.get_json(digest, MADE_FROM) if digest else None:
        case [str(source), _]:
            return source
    return digest
