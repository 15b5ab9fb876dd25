"""Compare inference engines on a CPU: torch eager and compiled, ONNX Runtime, OpenVINO.

    pip install onnx onnxscript onnxruntime openvino
    python -m benchmarks.engines                                        # r18_fpn and r50_fpn, 608 x 608, one thread
    python -m benchmarks.engines models=r50_c4 engines=torch,openvino repeats=3

A prediction is three graphs with other operations between them (decoding, NMS, RoI pooling): backbone and RPN head; box
head and predictor; mask head and predictor. Each is measured alone, all engines alternately in one process.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import options
from benchmarks.networks import build_network, calibrate
from benchmarks.result import Result, Row
from nucleiseg.errors import InputError
from nucleiseg.models.mask_rcnn import MaskRCNN

Run = Callable[[], Sequence[np.ndarray]]
"""Runs a graph on its example input, and returns its outputs."""


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        models: files of conf/model.
        engines: torch, compile, onnx, openvino.
        side: side of the image in network pixels.
        proposals: RoIs of the box head.
        detections: RoIs of the mask head.
        repeats: measured calls of each graph and engine.
        threads: CPU threads.
    """

    models: tuple[str, ...] = ("r18_fpn", "r50_fpn")
    engines: tuple[str, ...] = ("torch", "compile", "onnx", "openvino")
    side: int = 608
    proposals: int = 512
    detections: int = 128
    repeats: int = 5
    threads: int = 1

    def __post_init__(self) -> None:
        if unknown := set(self.engines) - set(ENGINES):
            raise InputError(f"engines is {','.join(sorted(unknown))}; it accepts {', '.join(ENGINES)}.")


class ImagePart(nn.Module):
    """The backbone and the RPN head: (1, 3, h, w) normalized pixels to maps, logits and deltas."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.rpn.head

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return the feature maps, then the logits and deltas of each level."""
        maps = list(self.backbone(pixels).values())
        logits, deltas = self.head(maps)
        return (*maps, *logits, *deltas)


class BoxPart(nn.Module):
    """The box head and its predictor: pooled RoIs to class logits and deltas."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        self.head, self.predictor = network.roi_heads.box_head, network.roi_heads.box_predictor

    def forward(self, pooled: Tensor) -> tuple[Tensor, ...]:
        """Return (N, K + 1) logits and (N, 4K) deltas."""
        return tuple(self.predictor(self.head(pooled)))


class MaskPart(nn.Module):
    """The mask head and its predictor: pooled RoIs to mask logits. In C4 res5 comes before it."""

    def __init__(self, network: MaskRCNN) -> None:
        super().__init__()
        heads = network.roi_heads
        self.head = heads.box_head if network.config.family == "c4" else heads.mask_head
        self.predictor = heads.mask_predictor

    def forward(self, pooled: Tensor) -> tuple[Tensor, ...]:
        """Return (N, K, M, M) logits."""
        return (self.predictor(self.head(pooled)),)


def main(chosen: Options) -> Result:
    """Measure each graph of each model in every engine."""
    threads_before = torch.get_num_threads()
    torch.set_num_threads(chosen.threads)
    try:
        rows = [row for model in chosen.models for row in measure_model(model, chosen)]
    finally:
        torch.set_num_threads(threads_before)
    threads = f"{chosen.threads} thread{'s' * (chosen.threads > 1)}"
    title = f"One image of {chosen.side} x {chosen.side}, {chosen.proposals} proposals, {chosen.detections} masks"
    return Result("engines", f"{title}: CPU milliseconds, median of {chosen.repeats}, {threads}", rows)


def measure_model(model: str, chosen: Options) -> Iterator[Row]:
    """Yield the row of each graph and engine of a model, with the gain over eager torch and the difference from it."""
    torch.manual_seed(0)
    network = build_network(model, chosen.side).eval()
    assert isinstance(network, MaskRCNN)
    calibrate(network, [torch.randint(0, 256, (3, chosen.side, chosen.side), dtype=torch.uint8)])
    heads = network.roi_heads
    channels = network.backbone.out_channels
    parts = {
        "backbone, RPN head": (ImagePart(network), (1, 3, chosen.side, chosen.side)),
        "box head": (BoxPart(network), (chosen.proposals, channels, *heads.box_roi_pool.output_size)),
        "mask head": (MaskPart(network), (chosen.detections, channels, *heads.mask_roi_pool.output_size)),
    }
    for name, (part, shape) in parts.items():
        # channels-last, as prediction has it on a CPU
        example = torch.randn(shape).contiguous(memory_format=torch.channels_last)
        with tempfile.TemporaryDirectory() as folder, torch.inference_mode(mode=False), torch.no_grad():
            runs = {
                engine: ENGINES[engine](part.eval(), example, Path(folder), chosen.threads)
                for engine in ("torch", *(engine for engine in chosen.engines if engine != "torch"))
            }
            milliseconds, outputs = alternate(runs, chosen.repeats)
        for engine in chosen.engines:
            yield {
                "model": model,
                "graph": name,
                "engine": engine,
                "ms": milliseconds[engine],
                "gain over torch": milliseconds["torch"] / milliseconds[engine],
                "greatest difference": difference(outputs[engine], outputs["torch"]),
            }


def alternate(runs: dict[str, Run], repeats: int) -> tuple[dict[str, float], dict[str, Sequence[np.ndarray]]]:
    """Return the median CPU milliseconds of each run, and its outputs; one call of each warms it up.

    CPU time of the process, so that other processes on the machine count less than in wall-clock time.
    """
    outputs = {engine: run() for engine, run in runs.items()}
    times: dict[str, list[float]] = {engine: [] for engine in runs}
    for _ in range(repeats):
        for engine, run in runs.items():
            start = time.process_time()
            run()
            times[engine].append(1000 * (time.process_time() - start))
    return {engine: median(values) for engine, values in times.items()}, outputs


def difference(found: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the greatest difference of any output, relative to the greatest value of that output."""
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in pairs)


def in_torch(part: nn.Module, example: Tensor, folder: Path, threads: int) -> Run:
    """Run a graph in eager torch."""
    return lambda: [output.numpy() for output in part(example)]


def compiled(part: nn.Module, example: Tensor, folder: Path, threads: int) -> Run:
    """Run a graph by torch.compile, which needs a C++ compiler on a CPU."""
    graph = torch.compile(part)
    return lambda: [output.numpy() for output in graph(example)]


def in_onnx_runtime(part: nn.Module, example: Tensor, folder: Path, threads: int) -> Run:
    """Run a graph in ONNX Runtime."""
    import onnxruntime

    choices = onnxruntime.SessionOptions()
    choices.intra_op_num_threads = choices.inter_op_num_threads = threads
    file = str(export(part, example, folder))
    session = onnxruntime.InferenceSession(file, choices, providers=["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: example.contiguous().numpy()}
    return lambda: session.run(None, inputs)


def in_openvino(part: nn.Module, example: Tensor, folder: Path, threads: int) -> Run:
    """Run a graph in OpenVINO, in float32: by default it takes bfloat16 where the processor has it."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    graph = core.compile_model(core.read_model(str(export(part, example, folder))), "CPU", settings)
    pixels = example.contiguous().numpy()
    return lambda: [np.array(output) for output in graph(pixels).values()]


def export(part: nn.Module, example: Tensor, folder: Path) -> Path:
    """Write a graph as ONNX, once for both engines that read it."""
    file = folder / "graph.onnx"
    if not file.exists():
        torch.onnx.export(part, (example.contiguous(),), str(file), dynamo=True, opset_version=20, verbose=False)
    return file


ENGINES: dict[str, Callable[[nn.Module, Tensor, Path, int], Run]] = {
    "torch": in_torch,
    "compile": compiled,
    "onnx": in_onnx_runtime,
    "openvino": in_openvino,
}
"""Name of an engine -> how it prepares a graph."""


if __name__ == "__main__":
    options.run(Options, main)
