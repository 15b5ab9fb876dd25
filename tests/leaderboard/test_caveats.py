"""Sentences on ties, synthetic images and precision."""

from pathlib import Path
from typing import Any

import pytest

from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tta import TTASettings
from nucleiseg.leaderboard.caveats import describe_ties, ranks, run_caveats, synthetic_note
from nucleiseg.runs import Run

USUAL = PredictionSettings()

DEMO, PHOTOGRAPHS = {"reader": "demo"}, {"reader": "folders"}


def make_run(name: str, data: Any) -> Run:  # noqa: ANN401
    return Run(Path(name), name, {"data": data}, [], [], {"state": "done"}, {})


@pytest.mark.parametrize(
    ("trained", "scored", "sentence"),
    [
        ((DEMO, DEMO), None, "The data are SYNTHETIC, not photographed: "),
        ((DEMO, DEMO), DEMO, "The data are SYNTHETIC, not photographed: "),
        ((DEMO, PHOTOGRAPHS), None, "Trained and scored on SYNTHETIC images: a. "),
        ((DEMO, DEMO), PHOTOGRAPHS, "Trained on SYNTHETIC images, scored on photographs: all runs."),
        ((PHOTOGRAPHS, DEMO), PHOTOGRAPHS, "Trained on SYNTHETIC images, scored on photographs: b."),
        ((PHOTOGRAPHS, None), DEMO, "All runs are scored on SYNTHETIC images, not on photographs: "),
        ((PHOTOGRAPHS, DEMO), DEMO, "Trained on such images too: b."),
    ],
)
def test_training_and_scoring_on_synthetic_images_differ(trained: tuple[Any, ...], scored: Any, sentence: str) -> None:  # noqa: ANN401
    runs = [make_run(name, data) for name, data in zip("ab", trained, strict=True)]
    note = synthetic_note(runs, scored)
    assert sentence in note
    assert run_caveats(runs, scored, USUAL) == [note]


def test_photographs_need_no_sentence() -> None:
    runs = [make_run("a", PHOTOGRAPHS), make_run("b", None), make_run("c", {"reader": "unheard of"})]
    assert synthetic_note(runs, None) == synthetic_note(runs, PHOTOGRAPHS) == ""
    assert run_caveats(runs, None, USUAL) == []


def test_a_lower_precision_is_named() -> None:
    assert run_caveats([], None, USUAL) == []
    [note] = run_caveats([], None, PredictionSettings(precision="bf16-mixed"))
    assert note.startswith("All checkpoints predicted with precision=bf16-mixed: metrics may differ slightly")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([2], "2"), ([2, 3], "2 and 3"), ([2, 3, 4], "2 to 4"), ([2, 4, 5, 6, 9], "2, 4 to 6 and 9")],
)
def test_ranks(numbers: list[int], text: str) -> None:
    assert ranks(numbers) == text


@pytest.mark.parametrize(
    ("tied", "text"),
    [
        ([1, 2, 3, 4, 5, 6, 7], "Rows 2 to 7 are statistically indistinguishable from the best {}."),
        (
            [1, 2, 4],
            "Rows 2 and 4 are statistically indistinguishable from the best {}. "
            "A tied row below one that isn't varies more from image to image.",
        ),
        ([1], "The best row is significantly better than all others {}."),
        (list(range(1, 10)), "All 9 rows are statistically indistinguishable {}."),
    ],
)
def test_ties(tied: list[int], text: str) -> None:
    sentence = describe_ties("ap50", tied=tied, unknown=[], rows=9, images=[12], defined=[12], seeds=5)
    assert sentence == text.format("on these 12 images (95 % paired bootstrap of ap50)")


@pytest.mark.parametrize(("unknown", "which"), [([3], "row 3"), ([1, 2, 3], "rows 1 to 3")])
def test_without_an_interval_nothing_is_concluded(unknown: list[int], which: str) -> None:
    sentence = describe_ties("ap", tied=[1, 2, 3], unknown=unknown, rows=3, images=[12], defined=[12], seeds=5)
    assert sentence == (
        f"No interval could be computed for {which} on these 12 images: their differences may be due to chance."
    )


def test_test_time_augmentation_is_a_caveat() -> None:
    views = TTASettings(flips=("horizontal", "vertical"))
    [caveat] = run_caveats([], None, PredictionSettings(tta=views))
    assert caveat == (
        "All checkpoints predicted with test-time augmentation of 4 views (flips ['horizontal', 'vertical'], "
        "merge 'agreement'): compare with scores of the same views."
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"tile": 512}, "tile=512: compare with scores of the same tiles."),
        ({"mask_nms": 0.25}, "mask_nms=0.25: compare with scores of the same mask NMS."),
    ],
)
def test_tiles_and_mask_nms_are_caveats(settings: dict[str, Any], sentence: str) -> None:
    [caveat] = run_caveats([], None, PredictionSettings(**settings))
    assert caveat == f"All checkpoints predicted with {sentence}"
