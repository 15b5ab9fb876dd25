"""CSV tables against the masks they measure."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from predicted_images import SIDE, predicted_image, square_masks

from nucleiseg.writers.base import FinishedImage
from nucleiseg.writers.nucleus_tables import IMAGE_COLUMNS, TableWriter


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=square_masks())
def test_lines_are_those_of_the_masks(tmp_path: Path, masks: list[np.ndarray]) -> None:
    image = predicted_image(masks)
    TableWriter().write_image(tmp_path / "a.csv", image)
    lines, with_a_pixel = read(tmp_path / "a.csv"), [mask for mask in masks if mask.any()]
    assert [line["id"] for line in lines] == [nucleus.id for nucleus in image.nuclei]
    assert [int(line["nucleus"]) for line in lines] == list(range(1, len(with_a_pixel) + 1))
    for line, mask in zip(lines, with_a_pixel, strict=True):
        rows, columns = mask.nonzero()
        assert int(line["area_px"]) == mask.sum()
        assert float(line["x"]) == pytest.approx(columns.mean() + 0.5, abs=1e-4)
        assert float(line["y"]) == pytest.approx(rows.mean() + 0.5, abs=1e-4)
        box = [int(line[side]) for side in ("left", "top", "right", "bottom")]
        assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert line["area_um2"] == ""


def test_images_have_a_line_each(tmp_path: Path) -> None:
    half = np.zeros((SIDE, SIDE), bool)
    half[:, :4] = True
    images = [
        predicted_image([half, ~half], [2, 1], class_names=("=1+1", "stroma"), mpp=0.5),
        predicted_image([], name="=b"),
    ]
    writer = TableWriter()
    with writer.assembly(tmp_path) as add:
        for image in images:
            record = writer.write_image(tmp_path / "nuclei.csv", image)
            add(FinishedImage(image.source, SIDE, SIDE, record))
    first, second = read(tmp_path / "images.csv")
    assert tuple(first) == IMAGE_COLUMNS
    assert first["nuclei"] == "2"
    assert first["classes"] == "'=1+1: 1; stroma: 1", "quoted: a spreadsheet would run it"
    assert float(first["area_px_mean"]) == SIDE**2 / 2
    assert float(first["area_um2_median"]) == SIDE**2 / 8
    assert float(first["nuclei_per_mm2"]) == pytest.approx(2 / (SIDE**2 * 0.25e-6), abs=1e-4)
    assert (first["threshold"], first["capped"]) == ("0.5", "false")
    assert second["image"] == "'=b"
    assert (second["nuclei"], second["area_px_mean"], second["nuclei_per_mm2"]) == ("0", "", "")
