"""The choice of `best.ckpt` and the sentence on it: values on different images are never compared."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import ImageMatches
from nucleiseg.leaderboard.best import best_caveats, best_of
from nucleiseg.leaderboard.board import Leaderboard, rank
from nucleiseg.leaderboard.candidates import Candidate, Scored
from nucleiseg.leaderboard.metrics import METRICS
from nucleiseg.leaderboard.record import EvaluationRecord, ImageRecord


def scored_with(hits: int, truths: int = 10, *, seed: int = 0, fold: str = "1", setting: str = "a") -> Candidate:
    """A checkpoint that found so many of the truths of each of two images, and nothing else."""
    found = np.ones(hits, dtype=bool)
    matches = ImageMatches(
        np.linspace(0.9, 0.6, hits), found.astype(np.int64), np.arange(hits), np.tile(found, (10, 1)), {1: truths}
    )
    if not truths:
        matches = replace(matches, true_positive=np.zeros((10, hits), dtype=bool), truths={})
    tally = Tally(hits, truths, hits)
    images = tuple(ImageRecord(name, name, 9, 9, truths, hits, tally, matches, Instances()) for name in "xy")
    bare = EvaluationRecord(images, 0.5, {}, 1.0, "a CPU")
    report = {key: float(metric.resampled(bare, np.ones((1, 2)))[0]) for key, metric in METRICS.items()}
    report["ap50_100_ceiling"] = 1.0 if truths else math.nan
    run = f"{setting} fold {fold} seed {seed}"
    return Candidate(
        run, setting, setting, seed, 200, "step", Path(run), fold, EvaluationRecord(images, 0.5, report, 1.0, "a CPU")
    )


def choose(candidates: Sequence[Candidate], rank_by: str = "ap50") -> tuple[Leaderboard, Candidate]:
    """Return the leaderboard and what is chosen from it."""
    board = rank(candidates, rank_by, resamples=5)
    scored = [SimpleNamespace(job=SimpleNamespace(file=one.checkpoint), candidate=one) for one in candidates]
    best: Scored = best_of(board.best, scored, METRICS[rank_by])  # type: ignore[arg-type]
    return board, best.candidate


def test_of_seeds_on_the_same_images_the_best_is_taken() -> None:
    found = [scored_with(hits, seed=seed) for seed, hits in enumerate((5, 8, 8, 3))]
    board, best = choose(found)
    assert best is found[1], "of equal ones the first"
    assert best_caveats(board, best) == [
        "best.ckpt is a fold 1 seed 1, a, step 200: of 4 runs on the same images the best by ap50."
    ]


@pytest.mark.parametrize("easier", [2, 9])
def test_folds_are_not_compared_by_their_values(easier: int) -> None:
    """However good a run is on the images of another fold, it is the best of the first one."""
    found = [scored_with(5), scored_with(6, seed=1), scored_with(easier, fold="2")]
    board, best = choose(found[::-1])
    assert best is found[1]
    assert best_caveats(board, best) == [
        "best.ckpt is a fold 1 seed 1, a, step 200: of the best row's 2 folds the first by name, since values on "
        "different images don't compare; of 2 runs on the same images the best by ap50."
    ]


def test_a_fold_without_truth_chooses_nothing() -> None:
    found = [scored_with(5, truths=0), scored_with(5, fold="2"), scored_with(7, seed=1, fold="2")]
    assert choose(found)[1] is found[2]
    assert choose(found[:1])[1] is found[0], "if nothing is defined, the first one stands for the row"


def test_a_single_checkpoint_needs_no_sentence() -> None:
    board, best = choose([scored_with(5), scored_with(4, setting="b")])
    assert best_caveats(board, best) == []


def test_the_table_is_named_if_there_are_several() -> None:
    board, best = choose([scored_with(5), scored_with(9, fold="2", setting="b")])
    assert best.setting == "a"
    assert best_caveats(board, best) == [
        "best.ckpt is a fold 1 seed 0, a, step 200: from table 1 (2 images), which can't be compared with the best "
        "rows of other tables."
    ]
