"""How ranks and ties are put in words."""

import pytest

from nucleiseg.evaluation.leaderboard.sentences import ranks, verdict


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
        ([1, 2, 4], "Rows 2 and 4 cannot be told from the best on {}: these 3 are one model."),
        ([1], "The best row is better than all others beyond chance on {}."),
        (list(range(1, 10)), "No row can be told from the best on {}: all 9 are one model."),
    ],
)
def test_ties(tied: list[int], text: str) -> None:
    said = verdict("ap50", tied, rows=9, images=[12], seeds=2, defined=True)
    assert said == text.format("these 12 images (95 % paired bootstrap of ap50)")
