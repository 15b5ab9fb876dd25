"""A small page for the tests: runs with curves, a ranked table, synthetic nuclei that were found and missed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleiseg.data.synthetic.rendering import render
from nucleiseg.evaluation.instance_metrics import Tally
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.matches import match_image
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.leaderboard.board import Leaderboard, Row, Table
from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.leaderboard.record import EvaluationRecord, ImageRecord
from nucleiseg.report.gallery import gallery_images
from nucleiseg.report.page import Page
from nucleiseg.report.submission_ledger import Submission
from nucleiseg.rle import Crop, compress, run_lengths
from nucleiseg.runs import Run

BANNER = "The data are SYNTHETIC, not photographed."

SIDE = 96
"""Pixels of the synthetic images."""

SENTENCE = "Row 2 is statistically indistinguishable from the best."

EVIL = "<script>alert(1)</script> & $x_1$"
"""A name that a page must show as it is."""


@dataclass(frozen=True)
class Summary:
    name: str
    height: int
    width: int
    boxes: np.ndarray


def make_image(index: int, share: float) -> tuple[np.ndarray, ImageTruth, Instances]:
    """Generate an image with detections of a share of its nuclei, and a false one."""
    rendered = render(0, index, SIDE, SIDE, 12)
    runs = [run_lengths(Crop(0, 0, mask), SIDE, SIDE) for mask in rendered.masks()]
    truth = ImageTruth(
        name=f"image_{index}",
        image_id=index,
        height=SIDE,
        width=SIDE,
        masks=compress(runs, SIDE, SIDE),
        labels=[1] * len(runs),
    )
    ghost = run_lengths(Crop(1, 1, np.ones((3, 3), dtype=bool)), SIDE, SIDE)
    found = [*runs[: round(share * len(runs))], ghost]
    return rendered.image, truth, Instances(compress(found, SIDE, SIDE), [0.9] * len(found), [1] * len(found))


def make_record(images: Sequence[tuple[np.ndarray, ImageTruth, Instances]]) -> EvaluationRecord:
    records = [
        ImageRecord(
            name=truth.name,
            image_id=truth.image_id,
            height=SIDE,
            width=SIDE,
            truths=len(truth.masks),
            count=len(results.masks),
            tally=Tally(*[0] * len(Tally._fields)),
            matches=match_image(truth, results),
            results=results,
        )
        for _, truth, results in images
    ]
    return EvaluationRecord(tuple(records), 0.5, {}, 1.0, "CPU")


def make_run(name: str, *, steps: int = 60, every: int = 20, **config: Any) -> Run:  # noqa: ANN401
    generator = np.random.default_rng(len(name))
    metrics = []
    for step in range(1, steps + 1):
        row = {"step": str(step), "lr": str(0.01 * step / steps)}
        row |= {f"train/{part}": str(generator.uniform(0.5, 1)) for part in ("loss", "loss_cls", "loss_mask")}
        if step % every == 0:
            row |= {"val/loss": str(generator.uniform(1, 2)), "val/ap50": str(step / 100)}
        metrics.append(row)
    index = [{"step": str(step), "path": f"checkpoints/{step}.ckpt"} for step in range(every, steps + 1, every)]
    status = {"state": "done", "steps": steps, "of": steps, "device": "CPU"}
    config = {"data": {"reader": "demo"}, "model": {"weights": None, "detection": {"limit": 100}}, **config}
    return Run(Path(name), name, config, index, metrics, status, {})


def make_row(rank: int, score: float, record: EvaluationRecord, **changes: Any) -> Row:  # noqa: ANN401
    setting, step = f"setting {rank % 2}", 100 * rank
    values: dict[str, Any] = {
        "ap50": score,
        "ap50_100": score / 4,
        "ap50_100_ceiling": 0.25,
        "count_mae": 12.0 / rank if rank != 2 else math.nan,
        "pq": math.nan,
    }
    row: dict[str, Any] = {
        "rank": rank,
        "setting": setting,
        "step": step,
        "kind": "step",
        "candidates": (Candidate("run", setting, "key", 0, step, "step", Path("x.ckpt"), "set", record),),
        "values": values,
        "interval": (score - 0.05, score + 0.04),
        "difference": (-0.1, 0.1),
        "tied": rank <= 2,
        "facts": {"parameters": 1.0e6 * rank, "device": "CPU", "weights": None},
    }
    return Row(**{**row, **changes})


def make_table(rows: Sequence[Row], **changes: Any) -> Table:  # noqa: ANN401
    names = tuple(image.name for image in rows[0].candidates[0].record.images)
    table: dict[str, Any] = {"image_sets": ("set",), "images": names, "rank_by": "ap50", "measure": "ap50"}
    return Table(
        **{
            **table,
            "rows": tuple(rows),
            "sentence": "Row 2 is statistically indistinguishable from the best.",
            **changes,
        }
    )


def make_page(**changes: Any) -> Page:  # noqa: ANN401
    """Return a page with something in each part; eleven rows, so that 10 has to be sorted behind 9."""
    images = [make_image(index, share) for index, share in enumerate((0.9, 0.4, 0.7))]
    record = make_record(images)
    rows = [make_row(rank, 0.9 - 0.05 * rank, record) for rank in range(1, 12)]
    pixels = {truth.name: image for image, truth, _ in images}
    boxes = np.array([[0, 0, 8.0, 9.0], [2, 2, 12, 12]])
    page: dict[str, Any] = {
        "title": EVIL,
        "leaderboard": Leaderboard((make_table(rows),), ("A note of the board.",)),
        "runs": [make_run("run_a", seed=0), make_run(EVIL, seed=1)],
        "summaries": [Summary(f"image_{number}", SIDE, SIDE, boxes[: number % 3]) for number in range(5)],
        "gallery": gallery_images(record, {truth.name: truth for _, truth, _ in images}, pixels.__getitem__, most=2),
        "submissions": [
            Submission(file="a.zip", metric="ap50_100", local_score=0.2, local_ceiling=0.25, board_score=0.24, step=9),
            Submission(file="b.zip", metric="ap50_100", local_score=0.21, local_ceiling=0.25),
        ],
        "shown": rows[0].candidates[0],
        "banner": BANNER,
    }
    return Page(**{**page, **changes})
