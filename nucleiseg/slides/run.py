"""Predict a whole slide: plan, blocks, merging, files.

    DIR/slides/NAME/plan.json, blocks/000000.block ...    the work folder, which every shard and worker shares
    DIR/slides/NAME/counts.csv                            one line of numbers
    DIR/geojson/NAME.geojson.gz, nuclei/NAME.csv          written when all blocks are there

The same command continues after a kill at any moment: blocks that exist are not computed again.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nucleiseg.errors import InputError
from nucleiseg.files import atomic_path, to_csv
from nucleiseg.inference.count_threshold import counting_threshold
from nucleiseg.inference.predictor import Predictor
from nucleiseg.progress import counted, echo, track
from nucleiseg.slides.blocks import BLOCKS, Block, BlockPredictor, SlideJob, block_path
from nucleiseg.slides.computing import blocks_of_shard, compute_in_processes, compute_on_cluster
from nucleiseg.slides.merging import merge_blocks
from nucleiseg.slides.opening import open_slide
from nucleiseg.slides.outputs import SlideInfo, SlideNucleus, check_slide_formats, nuclei_on_slide, open_writers
from nucleiseg.slides.plan import SlidePlan, keep_plan, make_plan
from nucleiseg.slides.regions import Regions
from nucleiseg.slides.slide import Slide
from nucleiseg.slides.tissue import TissueMask, find_tissue, whole_slide
from nucleiseg.writers.counts import capped_sentence
from nucleiseg.writers.file_names import safe_paths

WORK = "slides"
"""Folder of the work folders in that of the results."""

MOST_PEN = 0.01
"""Share of the mask in the colors of pens from which on it is reported."""

COLUMNS = (
    *("slide", "nuclei", "threshold", "windows", "capped_windows", "cut_nuclei", "um_per_px", "tissue_mm2"),
    "nuclei_per_mm2",
)
"""Of `counts.csv`. tissue_mm2: area of the mask, to which the density refers; the last three are empty if unknown."""

MaskKind = Literal["tissue", "none"]
"""Where to look: where the slide has tissue, or everywhere."""


@dataclass(frozen=True)
class SlideOptions:
    """How a slide's prediction is divided and written.

    Attributes:
        mask: where to look.
        regions: GeoJSON file of areas to look in, instead of the mask; None: none.
        shard: `i/n`: compute every n-th block from the i-th on; None: all.
        workers: processes of this computer.
        scheduler: address of a Dask scheduler, instead of processes; None: none.
        write: formats, keys of `outputs.SLIDE_FORMATS`.
        count_threshold: least score of a nucleus that counts; None as `counting_threshold` has it.
    """

    mask: MaskKind = "tissue"
    regions: Path | None = None
    shard: str | None = None
    workers: int = 1
    scheduler: str | None = None
    write: Sequence[str] = ("geojson.gz", "csv")
    count_threshold: float | None = None


@dataclass
class SlideSummary:
    """The outcome of a slide's prediction.

    Attributes:
        nuclei: number of nuclei that count; None if blocks of other shards are missing.
        windows: number of windows.
        capped: number of windows that reached the limit on detections.
        cut: number of nuclei that no window shows whole.
        missing: number of blocks that other shards have not finished.
    """

    nuclei: int | None = None
    windows: int = 0
    capped: int = 0
    cut: int = 0
    missing: int = 0


def predict_slide(
    path: Path, predictor: Predictor, checkpoint: tuple[Path, str], output: Path, options: SlideOptions
) -> SlideSummary:
    """Predict a slide, and write its files when all blocks are there.

    Args:
        path: the slide.
        predictor: the network with its settings.
        checkpoint: its file, and the file's digest.
        output: the folder of the results, made where missing.
        options: how the work is divided and written.

    Raises:
        InputError: if slide, regions or settings cannot be used, the folder holds blocks of another plan, or workers
            are lost.
    """
    with closing(open_slide(path, predictor.preprocessing.bits)) as slide:
        check_slide_formats(options.write, slide.size)
        regions = None if options.regions is None else Regions.read(options.regions)
        plan = plan_slide(slide, predictor, checkpoint[1], options.mask, regions)
        name = str(safe_paths([path.stem], "")[0])
        folder = output / WORK / name
        keep_plan(folder, plan)
        job = SlideJob(path.resolve(), checkpoint[0].resolve(), folder.resolve(), predictor.settings.device)
        _compute(BlockPredictor(slide, predictor, plan, folder), plan, job, options)
    missing = [number for number in range(len(plan.blocks)) if not block_path(folder, number).exists()]
    if missing:
        echo(
            f"{counted(len(missing), 'block')} of {len(plan.blocks)} are left to other shards; the one that finishes "
            "last writes the results."
        )
        return SlideSummary(windows=len(plan.windows), missing=len(missing))
    return write_slide(plan, folder, output, name, predictor, options, regions)


def plan_slide(
    slide: Slide, predictor: Predictor, checkpoint: str, mask: MaskKind, regions: Regions | None
) -> SlidePlan:
    """Find resolution and tissue of a slide, and plan its windows; see `make_plan`."""
    settings = predictor.settings
    mpp = settings.mpp or _stated_mpp(slide)
    if regions is not None:
        tissue, kind = regions.mask(slide.size, mpp), regions.digest
    elif mask == "none":
        tissue, kind = whole_slide(slide, mpp), mask
    else:
        tissue, kind = _tissue(slide, mpp), mask
    plan = make_plan(slide, predictor.metadata, settings, tissue, checkpoint=checkpoint, mask=kind, mpp=mpp)
    level = slide.levels[plan.level]
    echo(
        f"{slide.path.name}: {slide.size[1]} x {slide.size[0]} pixels"
        + (f" of {mpp:.4g} µm" if mpp else "")
        + f", read at 1/{level.downsample} and shown at {plan.scale / plan.downsample:.3g} network pixels per pixel; "
        f"{len(plan.windows)} of {len(plan.grid)} windows of {plan.side} x {plan.side}, in "
        f"{counted(len(plan.blocks), 'block')}."
    )
    return plan


def _stated_mpp(slide: Slide) -> float | None:
    """Return what the file states, and log a guess as such."""
    stated = slide.resolution
    if stated is None:
        return None
    if stated.is_guess:
        echo(
            f"WARNING: {slide.path.name} states no micrometers per pixel. {stated.mpp:.4g} is ASSUMED from "
            f"{stated.source}; sizes and scale are wrong if the camera had others: mpp=... sets them."
        )
    return stated.mpp


def _tissue(slide: Slide, mpp: float | None) -> TissueMask:
    if mpp is None:
        raise InputError(
            f"{slide.path} states no micrometers per pixel, which finding its tissue needs: give mpp, such as mpp=0.25 "
            "for most scans at 40x and mpp=0.5 at 20x, or mask=none with scale."
        )
    tissue = find_tissue(slide, mpp)
    if tissue.pen > MOST_PEN:
        echo(f"Note: {tissue.pen:.0%} of the tissue of {slide.path.name} has the colors of a pen.")
    return tissue


def _compute(predictor: BlockPredictor, plan: SlidePlan, job: SlideJob, options: SlideOptions) -> None:
    """Compute the blocks of this shard that are not there."""
    own = blocks_of_shard(len(plan.blocks), options.shard)
    left = [number for number in own if not block_path(job.folder, number).exists()]
    if len(left) < len(own):
        echo(f"Resuming: {len(own) - len(left)} of {counted(len(own), 'block')} are finished.")
    if not left:
        return
    if options.scheduler is not None:
        done: Iterator[object] = compute_on_cluster(job, left, options.scheduler)
    elif options.workers > 1:
        done = compute_in_processes(job, left, options.workers)
    else:
        done = (predictor.compute(number) for number in left)
    for _ in track(done, "Predicting blocks", len(left)):
        pass


def write_slide(
    plan: SlidePlan,
    folder: Path,
    output: Path,
    name: str,
    predictor: Predictor,
    options: SlideOptions,
    regions: Regions | None = None,
) -> SlideSummary:
    """Merge the blocks of a plan and write the files of a slide; memory does not grow with it.

    Args:
        plan: of the slide.
        folder: the work folder, with all blocks.
        output: of the results.
        name: of the files, without suffix.
        predictor: knows the classes and the thresholds.
        options: formats and threshold.
        regions: nuclei whose center of mass lies in none of them are left out; None keeps all.
    """
    for unfinished in (folder / BLOCKS).glob(".*.part.*"):  # of processes that were killed
        unfinished.unlink(missing_ok=True)
    threshold = counting_threshold(predictor, options.count_threshold)
    metadata = predictor.metadata
    info = SlideInfo(plan.size, plan.mpp, metadata.class_names, metadata.class_colors, metadata.category_ids)
    summary = SlideSummary(0, len(plan.windows), _capped_windows(plan, folder))
    with open_writers(options.write, output, name, info) as add:
        for merged in merge_blocks(plan, folder):
            for nucleus in nuclei_on_slide(merged, plan, threshold):
                if regions is None or regions.contains(*_center(nucleus)):
                    add(nucleus)
                    summary.nuclei = (summary.nuclei or 0) + 1
                    summary.cut += nucleus.is_cut
    _write_counts(folder / "counts.csv", plan, threshold, summary)
    if summary.capped:
        limit = predictor.detections
        echo(f"{plan.name}, {counted(summary.capped, 'window')}: {capped_sentence(limit + 1, limit)}")
    if summary.cut:
        echo(
            f"Warning: {summary.cut} nuclei may be cut where windows meet: they are larger than {plan.grid.largest} "
            f"network pixels, which an overlap of {plan.overlap} allows; raise tile_overlap, and tile with it."
        )
    return summary


def _center(nucleus: SlideNucleus) -> tuple[float, float]:
    return nucleus.crop.column + nucleus.shape.x, nucleus.crop.row + nucleus.shape.y


def _capped_windows(plan: SlidePlan, folder: Path) -> int:
    blocks = (Block.read(block_path(folder, number), with_masks=False) for number in range(len(plan.blocks)))
    return sum(int(block.windows[:, 3].sum()) for block in blocks)


def _write_counts(path: Path, plan: SlidePlan, threshold: float, summary: SlideSummary) -> None:
    numbers: list[object] = ["", "", ""]
    if plan.mpp is not None and plan.tissue_mm2:
        numbers = [f"{plan.mpp:.6g}", plan.tissue_mm2, round((summary.nuclei or 0) / plan.tissue_mm2, 4)]
    line = (plan.name, summary.nuclei, f"{threshold:.6g}", summary.windows, summary.capped, summary.cut, *numbers)
    with atomic_path(path) as temporary:
        temporary.write_text(to_csv([COLUMNS, line]), encoding="utf-8", errors="backslashreplace", newline="\n")
