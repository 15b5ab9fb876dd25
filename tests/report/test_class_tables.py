"""The tables of classes on the page: numbers of each class and the confusion matrix."""

import numpy as np

from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.report import evaluate
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.report.class_tables import COLUMNS, class_tables
from nucleiseg.rle import RLE, Crop, compress, run_lengths

SIDE = 20
NAMES = {1: "tumor", 2: "stroma"}


def square(top: int, left: int) -> RLE:
    crop = Crop(top, left, np.ones((5, 5), bool))
    return compress([run_lengths(crop, SIDE, SIDE)], SIDE, SIDE)[0]


def test_every_class_has_a_line_and_the_matrix_its_shares() -> None:
    masks = [square(0, 0), square(0, 8), square(8, 0), square(8, 8)]
    truth = ImageTruth(name="a", image_id=1, height=SIDE, width=SIDE, masks=masks, labels=[1, 1, 1, 2])
    found = Instances([*masks[:2], square(14, 14)], [0.9, 0.8, 0.7], [1, 2, 2])
    report = evaluate([truth], {1: found}, categories=NAMES).to_dict()
    tables = class_tables(report)
    assert tables is not None
    assert [row.name for row in tables.rows] == ["tumor", "stroma", "mean over classes"]
    first = dict(zip((column.key for column in COLUMNS), tables.rows[0].cells, strict=True))
    assert (first["truths"], first["count"], first["dq"]) == ("3", "1", "0.5000")
    mean = dict(zip((column.key for column in COLUMNS), tables.rows[-1].cells, strict=True))
    assert (mean["truths"], mean["ap50"]) == ("–", f"{report['ap50']:.4f}")
    assert tables.results == ("tumor", "stroma", "missed")
    assert [[cell.text for cell in row.cells] for row in tables.confusion] == [
        ["1", "1", "1"],
        ["0", "0", "1"],
        ["0", "1", ""],
    ]
    cell = tables.confusion[0].cells[1]
    assert (cell.title, cell.is_right, round(cell.share, 3)) == (
        "1 of 3 nuclei of tumor were found as stroma",
        False,
        0.333,
    )
    assert [row.total for row in tables.confusion] == [3, 1, 1]


def test_one_class_has_no_tables() -> None:
    truth = ImageTruth(name="a", image_id=1, height=SIDE, width=SIDE, masks=[square(0, 0)], labels=[1])
    assert class_tables(evaluate([truth], {}, categories={1: "nucleus"}).to_dict()) is None
