"""Ranking: folds as shares of their ceilings, ties, tables of the same images, caveats."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_records import candidate, image_record, random_record, record

from nucleiseg.errors import InputError
from nucleiseg.leaderboard.board import Leaderboard, rank
from nucleiseg.leaderboard.bootstrap import resampled_rows
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.leaderboard.metrics import METRICS


def level(hits: int, *, images: int = 5, truths: int = 40, spread: int = 1) -> Candidate:
    """A candidate that finds about so many of the truths of each image, and nothing false."""
    found = [image_record(f"image {i}", [True] * (hits + spread * (i % 3)), truths) for i in range(images)]
    return candidate(record(*found), setting=f"finds {hits}")


def test_a_row_that_is_better_on_every_image_is_never_tied() -> None:
    (table,) = rank([level(10), level(30), level(20)], "pq", resamples=500).tables
    assert [row.setting for row in table.rows] == ["finds 30", "finds 20", "finds 10"]
    assert [(row.rank, row.tied) for row in table.rows] == [(1, True), (2, False), (3, False)]
    assert table.rows[0].difference == (0, 0)
    assert table.rows[1].difference[1] < 0
    low, high = table.rows[0].interval
    assert low < table.rows[0].values["pq"] < high
    assert table.sentence == (
        "The best row is significantly better than all others on these 5 images (95 % paired bootstrap of pq). So few "
        "images (5) give rough intervals. The intervals don't include the effect of another seed: some rows have a "
        "single one."
    )


def test_indistinguishable_rows_are_tied() -> None:
    one = level(20, images=12)
    twin = replace(one, setting="twin", setting_key="z", seed=4)
    (table,) = rank([level(5, images=12), twin, one], "ap50", resamples=300).tables
    assert [row.tied for row in table.rows] == [True, True, False]
    assert table.rows[1].difference == (0, 0)
    assert table.sentence.startswith(
        "Row 2 is statistically indistinguishable from the best on these 12 images (95 % paired bootstrap of ap50). "
        "The intervals don't include the effect of another seed"
    )


def mixed() -> list[Candidate]:
    generator = np.random.default_rng(3)
    return [
        candidate(random_record(generator, 0.5 + 0.1 * seed), setting, seed=seed, image_set=fold)
        for setting, seed, fold in (
            ("a", 0, "1"),
            ("a", 1, "1"),
            ("a", 0, "2"),
            ("b", 0, "1"),
            ("b", 0, "2"),
            ("c", 0, "1"),
        )
    ]


MIXED = mixed()
BOARD = rank(MIXED, "ap50_100", resamples=20)


def contents(board: Leaderboard) -> str:
    """Everything that a reader sees, as text, since NaN is not equal to itself."""
    rows = [row for table in board.tables for row in table.rows]
    return repr([(row.name, row.values, row.interval, row.difference, row.tied) for row in rows])


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_the_candidates_does_not_matter(order: list[int]) -> None:
    shuffled = rank([MIXED[i] for i in order], "ap50_100", resamples=20)
    assert contents(shuffled) == contents(BOARD)
    assert shuffled.notes == BOARD.notes


def test_folds_are_averaged_as_shares_of_their_ceilings() -> None:
    """Fold 1: 400 truths in 2 images, of which 200 can count: ceiling 51/101 (recalls 0 .. 0.50 of 0 .. 1).

    Setting a finds 100 of 200 in each, so all that can count: 51/101, share 1. Fold 2: 100 truths in 2 images,
    ceiling 1; a finds half: 51/101. Setting b finds 50 of 200 in fold 1 (recall 0.25: 26/101, share 26/51), everything
    in fold 2. Raw means: a 51/101, b (26/101 + 1) / 2 = 0.629. Shares: a (1 + 51/101) / 2 = 0.752,
    b (26/51 + 1) / 2 = 0.755.
    """

    def fold(name: str, hits: int, truths: int, setting: str) -> Candidate:
        images = [image_record(f"{name}{i}", [True] * hits, truths) for i in range(2)]
        return candidate(record(*images), setting, image_set=name)

    found = [fold("1", 100, 200, "a"), fold("2", 25, 50, "a"), fold("1", 50, 200, "b"), fold("2", 50, 50, "b")]
    (table,) = rank(found, "ap50_100", resamples=50).tables
    rows = {row.setting: row for row in table.rows}
    assert rows["a"].values["ap50_100"] == pytest.approx(51 / 101)
    assert rows["a"].values["ap50_100_ceiling"] == pytest.approx((51 / 101 + 1) / 2)
    assert rows["a"].values["ap50_100_share"] == pytest.approx((1 + 51 / 101) / 2)
    assert rows["b"].values["ap50_100_share"] == pytest.approx((26 / 51 + 1) / 2)
    assert [row.setting for row in table.rows] == ["b", "a"]
    assert (table.measure, table.image_sets, len(table.images)) == ("ap50_100_share", ("1", "2"), 4)
    assert rows["b"].interval == pytest.approx((rows["b"].values["ap50_100_share"],) * 2)  # images of a fold are alike
    assert "these 4 images of 2 folds" in table.sentence


def test_seeds_are_averaged_before_folds() -> None:
    def one(hits: int, seed: int, fold: str) -> Candidate:
        return candidate(record(*(image_record(n, [True] * hits, 10) for n in "ab")), seed=seed, image_set=fold)

    (table,) = rank([one(2, 0, "1"), one(4, 1, "1"), one(9, 0, "2")], "count_mae", resamples=20).tables
    (row,) = table.rows
    assert row.values["count_mae"] == pytest.approx(((8 + 6) / 2 + 1) / 2)
    assert len(row.candidates) == 3
    assert table.sentence == "There is one row on these 4 images of 2 folds, and none to compare it with."


def test_rows_of_other_images_are_never_ranked_side_by_side() -> None:
    board = rank(
        [*MIXED, candidate(random_record(np.random.default_rng(9), 0.9, images=3), "d", image_set="3")], "ap50"
    )
    assert [table.image_sets for table in board.tables] == [("1", "2"), ("1",), ("3",)]  # by number of images
    assert [[row.setting for row in table.rows] for table in board.tables[1:]] == [["c"], ["d"]]
    assert board.best is board.tables[0].rows[0]
    assert board.notes == (
        "Not all rows were scored on the same images: there are 3 tables, whose numbers can't be compared.",
        "c, step 200: scored on 1 of 2 sets of validation images (folds) that others cover, so it is in another "
        "table. Runs may be missing, killed or unfinished.",
    )


def test_missing_seeds_and_repeated_runs_are_named() -> None:
    one = random_record(np.random.default_rng(0), 0.5)
    found = [candidate(one, seed=0, step=step) for step in (200, 400, 600)]
    found += [candidate(one, seed=1), candidate(one, "b", seed=0), candidate(one, "b", seed=0, run="b again")]
    assert rank(found, resamples=20).notes == (
        "a, steps 400 and 600: 1 seed, while others in the table have 2.",
        "b, step 200: 1 seed, while others in the table have 2.",
        "b again and b seed 0 set have the same setting, seed and images: their average counts as one seed.",
    )


def test_a_repeated_run_does_not_weigh_twice() -> None:
    one, other = (record(*(image_record(n, [True] * hits, 10) for n in "ab")) for hits in (8, 2))
    found = [candidate(one, seed=0), candidate(one, seed=0, run="again"), candidate(other, seed=1)]
    assert rank(found, "count_bias", resamples=20).best.values["count_bias"] == pytest.approx(-5)
    (table,) = rank([*found[:2], *(replace(one, step=400) for one in found[:2])], resamples=20).tables
    assert "some rows have a single one" in table.sentence


@pytest.mark.parametrize(("seeds", "caveat"), [(1, "a single one."), (2, "have 2."), (4, "have 4."), (5, None)])
def test_few_seeds_are_a_caveat(seeds: int, caveat: str | None) -> None:
    found = [replace(level(hits), seed=seed) for hits in (10, 30) for seed in range(seeds)]
    (table,) = rank(found, resamples=50).tables
    assert caveat in table.sentence if caveat else "seed" not in table.sentence


def test_tables_of_as_many_images_are_not_ordered_by_their_values() -> None:
    for hits in ((10, 30), (30, 10)):
        found = [replace(level(count), image_set=images) for count, images in zip(hits, "ab", strict=True)]
        assert [table.image_sets for table in rank(found, resamples=20).tables] == [("a",), ("b",)]


def test_a_fold_without_truth_takes_no_interval_from_the_others() -> None:
    def folds(hits: int) -> list[Candidate]:
        empty = replace(level(1, truths=0, images=1), image_set="2", setting_key=f"key of finds {hits}")
        return [replace(level(hits), image_set="1"), empty]

    (table,) = rank([*folds(10), *folds(30)], "ap50", resamples=100).tables
    assert [row.tied for row in table.rows] == [True, False]
    alone = rank([folds(10)[0], folds(30)[0]], "ap50", resamples=100).tables[0].rows[1]
    assert table.rows[1].values["ap50"] == alone.values["ap50"]
    assert table.rows[1].difference == alone.difference
    assert "these 6 images of 2 folds" in table.sentence
    assert "1 fold without truth is left out." in table.sentence
    assert "Each fold" not in table.sentence, "only one of them counts"


def test_folds_are_separate_trainings() -> None:
    found = [replace(level(hits), image_set=fold) for hits in (10, 30) for fold in "12"]
    assert "Each fold is a separate training" in rank(found, resamples=50).tables[0].sentence


def test_a_threshold_chosen_on_the_images_is_a_caveat_of_metrics_that_use_it() -> None:
    for key, metric in METRICS.items():
        said = any("score threshold" in note for note in rank([level(10)], key, resamples=5).notes)
        assert said == metric.has_threshold == (not key.startswith("ap")), key


def test_only_a_row_on_the_worse_side_is_distinguished_from_the_best() -> None:
    """The biases of one row cancel by luck: on nearly all resamples the other row's smaller one is nearer zero."""

    def biased(setting: str, errors: list[int]) -> Candidate:
        images = [image_record(f"image {i}", [True] * (100 + error), 100) for i, error in enumerate(errors)]
        return candidate(record(*images), setting)

    lucky = biased("lucky", [-99, 1, 3, 7, 15, 31, 42])
    steady = biased("steady", [1] * 7)
    (table,) = rank([steady, lucky], "count_bias").tables
    drawn = resampled_rows([[lucky], [steady]], METRICS["count_bias"], 2000, 0).values
    assert np.mean(np.abs(drawn[1]) < np.abs(drawn[0])) > 0.9
    assert [row.setting for row in table.rows] == ["lucky", "steady"]
    assert table.rows[1].values["count_bias"] == 1
    assert table.rows[1].tied


def test_one_image_shows_no_variation() -> None:
    (table,) = rank([level(10, images=1), level(30, images=1)], "ap50").tables
    assert all(row.tied and math.isnan(row.interval[0]) and math.isnan(row.difference[1]) for row in table.rows)
    assert table.sentence.startswith(
        "One image doesn't show how results vary: no row can be distinguished from another."
    )
    folds = [replace(level(10), image_set="1"), replace(level(10, images=1), image_set="2")]
    (table,) = rank([*folds, *(replace(fold, step=9) for fold in folds)], "ap50").tables
    assert table.sentence.startswith("A fold of one image doesn't show how results vary")


def test_an_undefined_metric_is_named() -> None:
    empty = [level(3, truths=0), replace(level(4, truths=0), step=400)]
    (table,) = rank(empty, "ap50_100", resamples=20).tables
    assert table.sentence == (
        "ap50_100 is undefined on these 5 images, which have no true instance: the order is arbitrary."
    )
    assert math.isnan(table.rows[0].values["ap50_100_share"])


def test_lower_errors_and_smaller_biases_win() -> None:
    found = [level(10), level(39, spread=0), level(45, spread=0)]
    for rank_by in ("count_mae", "count_bias"):
        (table,) = rank(found, rank_by, resamples=50).tables
        assert [row.setting for row in table.rows] == ["finds 39", "finds 45", "finds 10"]
        assert [row.tied for row in table.rows] == [True, False, False]
        assert table.rows[1].difference == pytest.approx((4, 4))
    assert [row.values["count_bias"] for row in table.rows[:2]] == [-1, 5]


def test_equal_values_are_ranked_by_fewer_steps() -> None:
    steps = [replace(level(10), step=step) for step in (600, 200, 400)]
    average = replace(level(10), step=200, kind="average")
    (table,) = rank([*steps, average], resamples=20).tables
    assert [row.name for row in table.rows] == [
        "finds 10, averaged weights (step 200)",
        "finds 10, step 200",
        "finds 10, step 400",
        "finds 10, step 600",
    ]
    assert table.sentence.startswith("All 4 rows are statistically indistinguishable on these 5 images")


def test_facts_are_averaged_or_joined() -> None:
    one = random_record(np.random.default_rng(0), 0.5)
    quick = record(*one.images, seconds_per_image=3.0)
    unknown = record(*one.images, seconds_per_image=math.nan)
    facts = [
        {"parameters": 10, "device": "a GPU", "weights": "coco", "peak_memory_mb": None},
        {"parameters": 10, "device": "a CPU", "weights": "coco", "seconds_per_step": 2.0},
        {"parameters": 10, "device": "a CPU", "weights": "coco", "seconds_per_step": 4.0},
    ]
    records = (one, quick, unknown)
    found = [candidate(kept, seed=i, facts=facts[i]) for i, kept in enumerate(records)]
    row = rank(found, resamples=10).best
    assert row.facts == {
        "parameters": 10,
        "device": "a GPU, a CPU",
        "weights": "coco",
        "peak_memory_mb": None,
        "seconds_per_step": 3.0,
        "seconds_per_image": 2.0,
    }
    (unknown_row,) = rank([candidate(unknown)], resamples=10).tables[0].rows
    assert unknown_row.facts["seconds_per_image"] is None


def test_nothing_to_rank_is_an_error() -> None:
    with pytest.raises(InputError, match="No checkpoint was evaluated"):
        rank([])
    with pytest.raises(InputError, match="rank_by is 'best'; it accepts one of ap,"):
        rank(MIXED, "best")
