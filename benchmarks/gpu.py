"""Run all GPU benchmarks in one call.

    python -m benchmarks.gpu output=DIR                               # estimated at an hour or less on an H200
    python -m benchmarks.gpu output=DIR data=DATA parts=study
    python -m benchmarks.gpu output=DIR tiny=true                     # smoke test, a minute or two on a CPU

Its parts are the other programs here with fixed settings, such as `study/1`, or all six runs as `study`. If a part
fails, the error is reported and the other parts still run. After each part, `gpu.json` and `gpu.md` in the folder hold
all results, including those of earlier calls with other `parts=`.
"""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import breakdown, operations, options, prediction, study, throughput, training_step
from benchmarks.precision import PRECISIONS
from benchmarks.result import Result, machine, markdown
from nucleiseg.errors import InputError
from nucleiseg.files import write_json, write_text
from nucleiseg.foreign_files import read_json
from nucleiseg.progress import echo


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        output: folder for `gpu.json` and `gpu.md`.
        parts: names of parts, or prefixes before a "/"; empty: all of `plan`.
        data: data set of the study for the reader `folders`; empty: synthetic images.
        device: `auto` takes a CUDA GPU if there is one.
        tiny: use sizes that run every line in seconds; the figures are meaningless.
    """

    output: str
    parts: tuple[str, ...] = ()
    data: str = ""
    device: str = "auto"
    tiny: bool = False


Part = Callable[[], Result]


def plan(chosen: Options) -> dict[str, Part]:
    """Return the parts by name, in the order in which they run."""
    device = chosen.device
    if chosen.tiny:
        return _tiny_plan(device)
    step = training_step.Options(("r50_fpn", "stock_fpn"), (50, 150, 600, 2000), steps=20, device=device)
    predicted = prediction.Options(models=("r50_fpn", "r50_c4", "stock_fpn"), repeats=20, device=device)
    bf16 = replace(predicted, precision="bf16", detections=(500,))
    study_runs = study.Options(data=chosen.data, device=device)
    loop = breakdown.Options(steps=50, warmup=100, device=device, workers=4)
    return {
        **{f"study/{row}": partial(study.main, replace(study_runs, rows=(row,))) for row in study_runs.rows},
        **{
            f"throughput/{model}": partial(throughput.main, throughput.Options((model,), device=device))
            for model in throughput.Options().models
        },
        "prediction/float32": partial(prediction.main, predicted),
        "prediction/bf16": partial(prediction.main, bf16),
        **{
            f"breakdown/{model}/{precision}": partial(breakdown.main, replace(loop, model=model, precision=precision))
            for model in ("r50_fpn", "r50_c4")
            for precision in PRECISIONS
        },
        "operations/r50_fpn": partial(operations.main, operations.Options(steps=5, device=device)),
        "operations/r50_c4": partial(operations.main, operations.Options("r50_c4", steps=5, device=device)),
        "training_step": partial(training_step.main, step),
    }


def _tiny_plan(device: str) -> dict[str, Part]:
    small: dict[str, Any] = {"nuclei": 8, "device": device}
    loop = throughput.Options(
        ("r18_fpn",),
        (1, 2),
        ("float32", "bf16"),
        size=96,
        resize=64,
        steps=1,
        warmup=1,
        profiled=1,
        product=64,
        **small,
    )
    run = study.Options(images=2, size=96, resize=64, steps=2, every=1, precision="float32", device=device)
    predicted = prediction.Options(("r18_fpn",), (5,), size=64, repeats=1, device=device)
    step = training_step.Options(("r18_fpn",), (5,), crop=64, steps=1, device=device)
    return {
        "study": partial(study.main, replace(run, models=("r18_fpn",))),
        "throughput": partial(throughput.main, loop),
        "prediction": partial(prediction.main, predicted),
        "breakdown": partial(
            breakdown.main, breakdown.Options("r18_fpn", size=96, resize=64, steps=1, workers=1, **small)
        ),
        "operations": partial(operations.main, operations.Options("r18_fpn", crop=64, steps=1, top=3, **small)),
        "training_step": partial(training_step.main, step),
    }


def main(chosen: Options) -> int:
    """Run the parts and write the results after each.

    Returns:
        The number of failed parts.

    Raises:
        InputError: for an unknown part.
    """
    parts = plan(chosen)
    wanted = choose(chosen.parts, parts) if chosen.parts else list(parts)
    known = earlier(Path(chosen.output), parts)
    for number, name in enumerate(wanted, 1):
        echo(f"{name} ({number} of {len(wanted)})")
        known[name] = attempt(parts[name])
        echo(as_page(known[name]) + "\n")
        write(Path(chosen.output), known)
    return sum("error" in known[name] for name in wanted)


def choose(asked: Sequence[str], parts: Iterable[str]) -> list[str]:
    """Return the names among `parts` that equal a requested name or start with it and a "/".

    Raises:
        InputError: for an unknown name.
    """
    chosen = {part: [name for name in parts if name == part or name.startswith(f"{part}/")] for part in asked}
    if unknown := [part for part, names in chosen.items() if not names]:
        raise InputError(f"parts is {','.join(unknown)}; it accepts {', '.join(parts)}.")
    return list(dict.fromkeys(name for names in chosen.values() for name in names))


def earlier(folder: Path, parts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read the results of these parts that earlier calls wrote to the folder."""
    file = folder / "gpu.json"
    known = read_json(file)["parts"] if file.exists() else {}
    return {name: known[name] for name in parts if name in known}


def study_page(known: Mapping[str, Any]) -> str:
    """Format one table of the finished runs of the study with their total time; empty for fewer than two."""
    runs = [result for name, result in known.items() if name.startswith("study/") and "rows" in result]
    rows = study.with_total([row for run in runs for row in run["rows"]])
    return markdown(Result("study", runs[0]["title"], rows)) if len(runs) > 1 else ""


def as_page(result: Mapping[str, Any]) -> str:
    """Format a part for `gpu.md`."""
    if "error" in result:
        return f"Failed: {result['error']}"
    return markdown(Result(result["name"], result["title"], result["rows"]))


def attempt(part: Part) -> dict[str, Any]:
    """Run a part and return its JSON: the result or the error."""
    try:
        return part().to_dict()
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def write(folder: Path, known: Mapping[str, Any]) -> None:
    """Write `gpu.json` and `gpu.md`."""
    here = machine()
    write_json(folder / "gpu.json", {"machine": here, "parts": known})
    facts = ", ".join(f"{name} {value}" for name, value in here.items() if value is not None)
    pages = {"study": study_page(known), **{name: as_page(result) for name, result in known.items()}}
    sections = [f"## {name}\n\n{text}\n" for name, text in pages.items() if text]
    write_text(folder / "gpu.md", "\n".join(["# GPU benchmarks", "", facts, "", *sections]))


if __name__ == "__main__":
    try:
        sys.exit(1 if main(options.parse(Options, sys.argv[1:])) else 0)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
