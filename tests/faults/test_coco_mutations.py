"""Damaged COCO files: evaluated, or refused with sentences that name the file; nothing else, and no crash in C."""

from pathlib import Path

from coco_mutations import try_one


def test_mutated_files(tmp_path: Path) -> None:
    evaluated = [try_one(seed, tmp_path) for seed in range(250)]
    assert 0.05 < sum(evaluated) / len(evaluated) < 0.95  # both outcomes are tried
