"""Time a slide's prediction from file to GeoJSON and table, and the share of it outside the network.

    python -m benchmarks.slide                                  # r50_fpn and stock, 4 x 4 windows of 1,024
    python -m benchmarks.slide models=r50_c4 device=cuda precision=bf16 windows=8

Ours reads windows by regions, predicts them in blocks, merges and writes `geojson.gz` and `csv`. Stock gets the same
windows from the same reader and ends with one run-length encoding a detection, window by window: it merges and writes
nothing. Both detect the same boxes in every window (see `benchmarks.networks.let_detect`).
"""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import options, stock
from benchmarks.measure import chosen_device, in_child
from benchmarks.networks import is_stock
from benchmarks.precision import product_precision
from benchmarks.prediction import Case, build
from benchmarks.result import Result, Row, relation
from benchmarks.stopwatch import Stopwatch
from benchmarks.synthetic_slide import write_slide
from benchmarks.training_step import stock_of
from nucleiseg.devices import peak_memory_mb
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tiles import overlap_for
from nucleiseg.models.checkpoint import Metadata
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.models.precision_context import precision_context
from nucleiseg.slides.blocks import BlockPredictor
from nucleiseg.slides.opening import open_slide
from nucleiseg.slides.plan import keep_plan
from nucleiseg.slides.run import SlideOptions, plan_slide
from nucleiseg.slides.run import write_slide as write_results
from nucleiseg.transforms.geometry import to_tensor

LARGEST = 48.0
"""Network pixels of the largest nuclei, from which the overlap of windows follows."""

NETWORK = "network"


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        models: see `benchmarks.training_step`.
        windows: of the slide along each side.
        tile: side of a window in network pixels, which are those of the slide.
        detections: in each window.
        threads: CPU threads.
        precision: float32, tf32 or bf16.
        device: `auto` takes a CUDA GPU if there is one.
    """

    models: tuple[str, ...] = ("r50_fpn", "stock_fpn")
    windows: int = 4
    tile: int = 1024
    detections: int = 200
    threads: int = 2
    precision: str = "float32"
    device: str = "auto"


@dataclass(frozen=True)
class SlideCase:
    """One row: see `Options`."""

    network: Case
    windows: int


def main(chosen: Options) -> Result:
    """Measure every model, each in a fresh process."""
    rows = []
    for model in chosen.models:
        device = chosen_device(chosen.device)
        network = Case(model, chosen.detections, chosen.tile, 1, chosen.threads, chosen.precision, device)
        rows.append(in_child(measure_slide, SlideCase(network, chosen.windows)))
    by_model = {row["model"]: row for row in rows}
    rows = [
        {**row, "time / stock": relation(row, by_model.get(stock_of(str(row["model"]))), "seconds")} for row in rows
    ]
    title = f"A slide of {chosen.windows} x {chosen.windows} windows of {chosen.tile}, {chosen.precision}"
    return Result("slide", title, rows)


def measure_slide(case: SlideCase) -> Row:
    """Time the prediction of one slide, after one window to warm up."""
    torch.set_num_threads(case.network.threads)
    torch.manual_seed(0)
    tile = case.network.size
    side = tile + (case.windows - 1) * (tile - overlap_for(LARGEST))
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_slide(folder / "slide.tif", side, tissue=1.0, compression="jpeg")
        watch = Stopwatch(case.network.device)
        predict = predict_stock if is_stock(case.network.model) else predict_ours
        seconds = predict(case.network, folder, watch)
    network = watch.seconds()[NETWORK]
    return {
        "model": case.network.model,
        "megapixels": side**2 / 1e6,
        "seconds": seconds,
        "megapixels a second": side**2 / 1e6 / seconds,
        "outside the network, %": 100 * max(1 - network / seconds, 0),
        "peak memory, MB": peak_memory_mb(torch.device(case.network.device)),
    }


def predictor_of(case: Case) -> Predictor:
    """Return a predictor whose network detects the case's boxes in every window."""
    network = build(case)
    assert isinstance(network, MaskRCNN)
    metadata = Metadata(
        model=network.config.to_dict(), preprocessing={"scale": 1.0, "mpp": 0.25}, largest_nucleus=LARGEST
    )
    precision = product_precision(case.precision)
    return Predictor(network, metadata, PredictionSettings(device=case.device, precision=precision, tile=case.size))


def predict_ours(case: Case, folder: Path, watch: Stopwatch) -> float:
    """Return the seconds from an open slide to its files."""
    predictor = predictor_of(case)
    chosen = SlideOptions(mask="none", count_threshold=0.5)
    with closing(open_slide(folder / "slide.tif")) as slide:
        predictor.detect([to_tensor(slide.read(0, 0, 0, case.size, case.size))])
        watch.wrap(predictor, "detect", NETWORK)
        start = time.perf_counter()
        plan = plan_slide(slide, predictor, "", "none", None)
        keep_plan(folder / "work", plan)
        blocks = BlockPredictor(slide, predictor, plan, folder / "work")
        for number in range(len(plan.blocks)):
            blocks.compute(number)
        write_results(plan, folder / "work", folder, "slide", predictor, chosen)
        return time.perf_counter() - start


def predict_stock(case: Case, folder: Path, watch: Stopwatch) -> float:
    """Return the seconds from an open slide to the run lengths of each window."""
    network, precision = build(case), product_precision(case.precision)
    step = case.size - overlap_for(LARGEST)

    def predict(top: int, left: int) -> None:
        image = to_tensor(slide.read(0, top, left, case.size, case.size))
        with watch.part(NETWORK), torch.no_grad(), precision_context(precision, case.device):
            masks = network([image.float().div(255).to(case.device)])[0]["masks"].float()
        stock.encode(masks)

    with closing(open_slide(folder / "slide.tif")) as slide:
        predict(0, 0)
        watch.reset()
        start = time.perf_counter()
        for top in range(0, slide.size[0] - step, step):
            for left in range(0, slide.size[1] - step, step):
                predict(top, left)
        return time.perf_counter() - start


if __name__ == "__main__":
    options.run(Options, main)
