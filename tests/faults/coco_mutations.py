"""A sound COCO truth with results, and seeded changes of single values into what no reader should trust.

python -m coco_mutations FIRST COUNT        # in this folder: a long run in a process of its own
"""

import json
import random
import sys
import tempfile
from copy import deepcopy
from pathlib import Path
from typing import Any

from nucleiseg.errors import MOST_PROBLEMS, InputError
from nucleiseg.evaluation.coco_truth import read_coco
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.results import read_results

MASK = {"size": [20, 30], "counts": "o15?0000000e="}  # 5 x 5 pixels
RUNS = {"size": [20, 30], "counts": [63, 5, 15, 5, 512]}
POLYGON = [[3.0, 2.0, 9.0, 2.0, 9.5, 7.0, 3.0, 6.0]]

VALUES: list[Any] = [
    *(None, True, False, "", "1", "x", "b'0'", "nucleus", "\ud800", "\0", "é", "PPPPPPPPP", "o" * 40, "0" * 700),
    *(0, -1, 1, 2, 7, 20, 30, 599, 600, 601, 255, 256, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, 10**100, -(10**400)),
    *(0.5, -0.0, 1.0, 600.0, 1e9, 1e18, 1e300, -1e300, float("nan"), float("inf"), float("-inf")),
    *([], {}, [[]], [None], [[1]], [[1, 2]], [[1, 2, 3, 4]], [[1, 1, 1, 1, 1, 1]], [[0, 0, 60, 60, -60, 60]]),
    *([600], [0, 600], [0, 0, 600], [2**32, 600], [600, 2**32], [-1, 601], [1] * 600, [0] * 999 + [600]),
    *(MASK, RUNS, POLYGON, {"size": [30, 20], "counts": "0"}, {"size": [20, 30], "counts": ""}),
]
"""What takes the place of a value."""


def sound_files() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a truth and results that fit."""
    forms = [MASK, RUNS, POLYGON]
    annotations = [
        {"id": n, "image_id": 1 + n % 2, "category_id": 1, "segmentation": forms[n % 3], "iscrowd": int(n == 5)}
        | ({"bbox": [3, 3, 5, 5]} if n % 2 else {})
        for n in range(6)
    ]
    truth = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 20, "width": 30} for n in (1, 2)],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "nucleus"}],
    }
    results = [
        {"image_id": 1 + n % 2, "category_id": 1, "segmentation": forms[n % 3], "score": n / 7, "bbox": [3, 3, 5, 5]}
        for n in range(6)
    ]
    return deepcopy(truth), deepcopy(results)


def mutate(generator: random.Random, document: Any) -> None:  # noqa: ANN401
    """Replace, remove, repeat or disturb one value somewhere in a document."""
    parent = document
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        if not keys:
            return
        key = generator.choice(keys)
        child = parent[key]
        if not isinstance(child, dict | list) or not child or generator.random() < 0.15:
            break
        parent = child
    action = generator.random()
    if action < 0.1:
        del parent[key]
    elif action < 0.2 and isinstance(parent, list):
        parent.extend([child] * generator.choice([1, 300]))
    elif action < 0.4 and isinstance(child, str) and child:
        place = generator.randrange(len(child))
        inserted = chr(generator.randrange(32, 128)) * generator.choice([0, 1, 9])
        parent[key] = child[:place] + inserted + child[place + 1 :]
    else:
        parent[key] = deepcopy(generator.choice(VALUES))


def try_one(seed: int, folder: Path) -> bool:
    """Evaluate files with up to four changes; return whether they were evaluated, not refused."""
    generator = random.Random(seed)
    truth, results = sound_files()
    for _ in range(generator.randrange(1, 5)):
        mutate(generator, generator.choice([truth, results]))
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "results.json").write_text(json.dumps(results))
    problems: list[str] = []
    try:
        known = read_coco(folder / "truth.json")
        found = read_results(folder / "results.json", known)
    except InputError as error:
        problems = error.problems[:MOST_PROBLEMS]
    assert all("truth.json" in problem or "results.json" in problem for problem in problems)
    if problems:
        return False
    report = evaluate(known.images, found.images, categories=known.categories).to_dict()
    json.dumps(report, allow_nan=False)
    for key in ("ap", "box_ap", "aji", "pq", "dice"):
        assert report[key] is None or 0 <= report[key] <= 1, f"seed {seed}: {key} is {report[key]}"
    return True


if __name__ == "__main__":
    start, count = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        for seed in range(start, start + count):
            if seed % 1000 == 0:
                print(f"from {seed}", flush=True)
            try_one(seed, Path(name))
