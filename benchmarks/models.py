"""Time a training step and a prediction of each model, in float32 and bfloat16.

    python -m benchmarks.models                                       # the models of the zoo and r18_fpn
    python -m benchmarks.models models=r50_c4,r50_fpn precisions=float32,tf32,bf16 device=cuda steps=20

`benchmarks.networks` makes untrained networks work as hard as trained ones. Memory is that of the whole process, on a
GPU that of its tensors.
"""

from dataclasses import dataclass
from typing import Any

from benchmarks import options, prediction, training_step
from benchmarks.measure import chosen_device, in_child
from benchmarks.networks import build_network
from benchmarks.result import Result, Row

ALL = ("r18_fpn", "r50_fpn", "r50_c4", "r50_dc5", "r101_fpn", "r101_c4", "r101_dc5", "x101_fpn")


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        models: files of conf/model.
        precisions: float32, tf32 or bf16.
        crop: side of the training image in pixels.
        nuclei: nuclei in the crop.
        size: side of the predicted image in pixels.
        detections: detections in it.
        steps: measured training steps.
        repeats: measured predictions.
        threads: CPU threads.
        device: `auto` takes a CUDA GPU if there is one.
    """

    models: tuple[str, ...] = ALL
    precisions: tuple[str, ...] = ("float32", "bf16")
    crop: int = 608
    nuclei: int = 150
    size: int = 1000
    detections: int = 500
    steps: int = 2
    repeats: int = 2
    threads: int = 2
    device: str = "auto"


def main(chosen: Options) -> Result:
    """Measure every model, each case in a fresh process."""
    title = (
        f"Models: a step of 1 x {chosen.crop} x {chosen.crop} with {chosen.nuclei} nuclei, median of {chosen.steps}; "
        f"a prediction of {chosen.size} x {chosen.size} with {chosen.detections}, median of {chosen.repeats}"
    )
    return Result("models", title, [row(model, chosen) for model in chosen.models])


def row(model: str, chosen: Options) -> Row:
    """Measure a model in every precision."""
    cells: Row = {"model": model, "parameters, 10^6": in_child(parameters, model) / 1e6}
    shared: dict[str, Any] = {"model": model, "threads": chosen.threads, "device": chosen_device(chosen.device)}
    for precision in chosen.precisions:
        case = training_step.Case(
            nuclei=chosen.nuclei, crop=chosen.crop, batch=1, steps=chosen.steps, precision=precision, **shared
        )
        step = in_child(training_step.measure_step, case)
        cells |= {f"step {precision}, s": step.seconds, f"step {precision}, MB": step.memory_mb}
    for precision in chosen.precisions:
        image = prediction.Case(
            detections=chosen.detections, size=chosen.size, repeats=chosen.repeats, precision=precision, **shared
        )
        predicted = in_child(prediction.measure_prediction, image)
        cells |= {
            f"image {precision}, s": predicted["seconds"],
            f"image {precision}, MB": predicted["peak memory, MB"],
        }
    return cells


def parameters(model: str) -> int:
    """Count the parameters of a model for one class."""
    return sum(parameter.numel() for parameter in build_network(model, 0).parameters())


if __name__ == "__main__":
    options.run(Options, main)
