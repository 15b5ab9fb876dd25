"""Run each benchmark at sizes of seconds and check that its figures are plausible; slow, as it starts processes."""

import json
import os
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import (
    breakdown,
    evaluation,
    gpu,
    models,
    operations,
    paste_rle,
    prediction,
    sample_loading,
    scaling,
    slide,
    study,
    training_step,
)
from benchmarks.measure import Cost, in_child
from benchmarks.precision import product_precision
from benchmarks.result import Result
from benchmarks.throughput import peak_of_sheet, roofline
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError
from nucleiseg.files import write_json

slow = pytest.mark.slow


def plausible(result: Result) -> list[dict[str, object]]:
    """Return the rows, whose numbers are positive and whose keys are the same."""
    rows = [dict(row) for row in result.rows]
    assert rows
    assert all(row.keys() == rows[0].keys() for row in rows)
    assert all(value > 0 for row in rows for value in row.values() if isinstance(value, int | float))
    assert json.dumps(result.to_dict())
    return rows


@slow
def test_a_case_may_have_processes_of_its_own() -> None:
    assert in_child(partial(in_child, abs), -3) == 3


@slow
def test_a_case_that_is_killed_is_an_error() -> None:
    with pytest.raises(BrokenProcessPool):
        in_child(os._exit, 1)


@slow
def test_sample_loading_of_synthetic_nuclei() -> None:
    chosen = sample_loading.Options(nuclei=(5, 20), size=200, repeats=2, stock_repeats=1)
    rows = plausible(sample_loading.main(chosen))
    assert [row["nuclei"] for row in rows] == [5, 20]
    assert rows[0]["growth of ours"] == 1


@slow
def test_sample_loading_of_a_data_set(tmp_path: Path) -> None:
    reader = DemoReader(images=3, size=96)
    write_folders(reader, tmp_path)
    counts = sorted(len(reader.read(record)) for record in reader.records())
    chosen = sample_loading.Options(data=str(tmp_path), repeats=1, stock_repeats=0)
    assert [row["nuclei"] for row in plausible(sample_loading.main(chosen))] == counts


def test_an_image_that_does_not_exist_is_named() -> None:
    chosen = sample_loading.Options(images=("7",), size=64, nuclei=(3,))
    with pytest.raises(InputError, match="No image named 7; there are 3"):
        sample_loading.main(chosen)


@slow
def test_training_steps_beside_stock() -> None:
    chosen = training_step.Options(models=("r18_fpn", "stock_fpn"), nuclei=(3, 6), crop=64, steps=1)
    rows = plausible(training_step.main(chosen))
    assert [row["model"] for row in rows] == ["r18_fpn", "r18_fpn", "stock_fpn", "stock_fpn"]
    assert [row["time / stock"] for row in rows[2:]] == [1, 1]
    assert rows[0]["growth of time"] == 1


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match="precision is 'int4'; it accepts"):
        product_precision("int4")


@slow
def test_prediction_equals_stock_in_its_numerics() -> None:
    chosen = prediction.Options(models=("r50_fpn_torchvision", "stock_fpn"), detections=(5,), size=96, repeats=1)
    ours, stock = plausible(prediction.main(chosen))
    assert ours["detections"] == stock["detections"] == 5
    assert float(str(ours["least mask IoU"])) > 0.98


@slow
def test_pasting_beside_stock_as_far_as_it_goes() -> None:
    chosen = paste_rle.Options(detections=(5, 9), size=64, repeats=1, stock_repeats=1, stock_limit=5)
    few, many = plausible(paste_rle.main(chosen))
    assert few["stock, ms"] is not None
    assert many["stock, ms"] is many["stock / ours"] is None


@slow
def test_evaluation_beside_pycocotools() -> None:
    rows = plausible(evaluation.main(evaluation.Options(images=1, truths=6, predictions=12, repeats=1)))
    ours, masks, boxes, both = rows
    assert ours["seconds / ours"] == 1
    assert masks["AP of masks"] == pytest.approx(ours["AP of masks"])
    assert boxes["AP of boxes"] == pytest.approx(ours["AP of boxes"])
    assert both["seconds"] == pytest.approx(float(str(masks["seconds"])) + float(str(boxes["seconds"])))


def test_evaluation_refuses_to_compare_different_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = {
        evaluation.measure_ours: evaluation.Side(Cost(1, 1, 700), {"masks": 0.5, "boxes": 0.25}),
        evaluation.measure_pycocotools: evaluation.Side(Cost(9, 8, 600), {"masks": 0.5, "boxes": 0.5}),
    }
    monkeypatch.setattr(evaluation, "in_child", lambda function, case: sides[function])
    with pytest.raises(ValueError, match=r"AP of boxes is 0\.25, but 0\.5 by pycocotools"):
        evaluation.main(evaluation.Options())
    (ours,) = plausible(evaluation.main(evaluation.Options(stock_repeats=0)))
    assert ours["AP of boxes"] == 0.25


def test_calls_one_after_the_other_add_their_times_and_keep_the_greatest_peak() -> None:
    sides = [
        evaluation.Side(Cost(2, 3, 700), {"masks": 0.5}),
        evaluation.Side(Cost(4, 5, 600), {"boxes": 0.25}),
    ]
    assert evaluation.together(sides) == (Cost(6, 8, 700), {"masks": 0.5, "boxes": 0.25})
    unknown = [evaluation.Side(Cost(1, 1, None), {})]
    assert evaluation.together(unknown).cost.memory_mb is None


@slow
def test_the_parts_of_a_step_add_up() -> None:
    chosen = breakdown.Options("r18_fpn", nuclei=8, size=96, resize=64, steps=2, device="cpu")
    rows = {row["part"]: row for row in plausible(breakdown.main(chosen))}
    parts = [float(str(row["ms a step"])) for name, row in rows.items() if ":" in str(name)]
    assert sum(parts) == pytest.approx(float(str(rows[breakdown.STEP]["ms a step"])))
    assert {name for *_, name in breakdown.TARGETS} < rows.keys()


@slow
def test_operations_of_a_step() -> None:
    chosen = operations.Options("r18_fpn", nuclei=5, crop=64, steps=1, top=2, device="cpu")
    heavy, rest, plain, *longest = plausible(operations.main(chosen))
    assert float(str(heavy["share, %"])) + float(str(rest["share, %"])) == pytest.approx(100)
    assert plain["GFLOP/s"] is not None
    assert len(longest) == 2


@slow
def test_scaling_along_both_axes() -> None:
    by_nuclei = scaling.Options(nuclei=(5, 9), size=96, repeats=1, stock_limit=5)
    few, many = plausible(scaling.main(by_nuclei))
    assert few["stock, ms"] is not None
    assert many["stock, ms"] is None
    by_size = scaling.Options(axis="size", sizes=(64,), repeats=1)
    assert plausible(scaling.main(by_size))[0]["nuclei"] == 2


def test_the_roofline_follows_from_operations_and_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.throughput.peak_of_product", lambda *arguments: 2.0)
    cells = roofline(gflop=500, seconds=0.5, precision="float32", device="cpu", product=8)
    assert cells["roofline, steps a second"] == 4  # 2 TFLOP/s, 0.5 TFLOP
    assert cells["of the roofline, %"] == 50  # 2 steps a second


def test_peaks_are_those_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peak_of_sheet("bf16", "cpu") is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    assert peak_of_sheet("bf16", "cuda") == 989.4
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some other")
    assert peak_of_sheet("bf16", "cuda") is None


@slow
def test_all_of_a_gpu_at_tiny_sizes_on_the_cpu(tmp_path: Path) -> None:
    assert gpu.main(gpu.Options(str(tmp_path), tiny=True, device="cpu")) == 0
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert list(parts) == ["study", "throughput", "prediction", "breakdown", "operations", "training_step"]
    assert parts["study"]["rows"][0]["checkpoints"] == 2
    assert len(parts["throughput"]["rows"]) == 4
    assert "## throughput" in (tmp_path / "gpu.md").read_text(encoding="utf-8")


def test_a_part_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> Result:
        raise RuntimeError("out of memory")

    parts = {"first": fail, "second": lambda: Result("second", "Title", [{"a": 1}])}
    monkeypatch.setattr(gpu, "plan", lambda chosen: parts)
    assert gpu.main(gpu.Options(str(tmp_path))) == 1
    known = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert known["first"] == {"error": "RuntimeError: out of memory"}
    assert known["second"]["rows"] == [{"a": 1}]


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parts is speed; it accepts study/1, study/2"):
        gpu.main(gpu.Options(str(tmp_path), parts=("speed",)))


def test_parts_go_by_their_name_or_by_what_they_have_in_common() -> None:
    names = list(gpu.plan(gpu.Options("")))
    assert gpu.choose(("study/2", "breakdown/r50_c4"), names) == [
        "study/2",
        *(f"breakdown/r50_c4/{precision}" for precision in ("float32", "tf32", "bf16")),
    ]
    assert gpu.choose(("study", "study/1"), names) == [f"study/{row}" for row in range(1, 7)]


def test_the_study_has_a_total_if_its_rows_were_measured_one_by_one() -> None:
    runs = {f"study/{n}": Result("study", "The study", [{"model": "a", "minutes": n}]).to_dict() for n in (1, 2)}
    assert "| all | 3.00 |" in gpu.study_page({**runs, "study/3": {"error": "no"}})
    assert not gpu.study_page({"study/1": runs["study/1"]})


def test_only_parts_of_the_plan_are_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "gpu.json", {"parts": {"study/1": {"rows": []}, "of_old": {"rows": []}}})
    assert list(gpu.earlier(tmp_path, ["study/1", "study/2"])) == ["study/1"]


def test_a_breakdown_needs_a_warm_up_and_a_measured_step() -> None:
    for wrong in ({"warmup": 0}, {"steps": 0}):
        with pytest.raises(InputError, match="give at least 1 of each"):
            breakdown.Options(**wrong)


def test_an_unknown_row_of_the_study_is_refused() -> None:
    with pytest.raises(InputError, match="rows is 0,7; it accepts 1 to 6"):
        study.Options(rows=(0, 1, 7))


@slow
def test_the_cost_of_each_model() -> None:
    chosen = models.Options(("r18_fpn",), crop=64, nuclei=5, size=64, detections=5, steps=1, repeats=1)
    [row] = plausible(models.main(chosen))
    assert row["model"] == "r18_fpn"
    assert {"step float32, s", "step bf16, MB", "image float32, MB", "image bf16, s"} <= row.keys()


@slow
def test_a_slide_beside_stock() -> None:
    pytest.importorskip("imagecodecs", reason="pip install 'nucleiseg[wsi]'")
    chosen = slide.Options(windows=2, tile=256, detections=5, threads=1, device="cpu")
    rows = plausible(slide.main(chosen))
    assert [row["model"] for row in rows] == ["r50_fpn", "stock_fpn"]
    assert rows[0]["megapixels"] == 384**2 / 1e6
    assert rows[1]["time / stock"] == 1
