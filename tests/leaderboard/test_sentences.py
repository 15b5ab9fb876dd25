"""How ranks and ties are put in words."""

import pytest

from nucleiseg.leaderboard.sentences import ranks, verdict


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([2], "2"), ([2, 3], "2 and 3"), ([2, 3, 4], "2 to 4"), ([2, 4, 5, 6, 9], "2, 4 to 6 and 9")],
)
def test_ranks(numbers: list[int], text: str) -> None:
    assert ranks(numbers) == text


@pytest.mark.parametrize(
    ("tied", "text"),
    [
        ([1, 2, 3, 4, 5, 6, 7], "Rows 2 to 7 cannot be told from the best on {}: your top 7 are one model."),
        (
            [1, 2, 4],
            "Rows 2 and 4 cannot be told from the best on {}; "
            "a tied row below one that is not varies more from image to image.",
        ),
        ([1], "The best row is better than all others beyond chance on {}."),
        (list(range(1, 10)), "No row can be told from the best on {}: all 9 are one model."),
    ],
)
def test_ties(tied: list[int], text: str) -> None:
    said = verdict("ap50", tied=tied, unknown=[], rows=9, images=[12], defined=[12], seeds=5)
    assert said == text.format("these 12 images (95 % paired bootstrap of ap50)")


@pytest.mark.parametrize(("unknown", "which"), [([3], "row 3"), ([1, 2, 3], "rows 1 to 3")])
def test_without_an_interval_nothing_is_found(unknown: list[int], which: str) -> None:
    said = verdict("ap", tied=[1, 2, 3], unknown=unknown, rows=3, images=[12], defined=[12], seeds=5)
    assert said == (
        f"No interval could be computed for {which} on these 12 images: what chance could have done is unknown."
    )
