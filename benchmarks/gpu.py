"""Everything that is claimed of a GPU, in one call on a machine that has one.

    python -m benchmarks.gpu output=DIR                               # an hour or less on an H200, by reckoning
    python -m benchmarks.gpu output=DIR data=DATA parts=study
    python -m benchmarks.gpu output=DIR tiny=true                     # a minute or two on a CPU: does it all run?

Its parts are the other programs here, with the settings that the claims name: `study/1`, or all six as `study`. A part
that fails is reported, and the others go on. After each part `gpu.json` and `gpu.md` in the folder hold all that is
known, what earlier calls with other `parts=` have left there too.
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
from nucleiseg.progress import say


@dataclass(frozen=True)
class Options:
    """Keys of the command line.

    Attributes:
        output: the folder for `gpu.json` and `gpu.md`.
        parts: which to run, by name, or by what stands before a "/" in some names; none: all of `plan`.
        data: a data set for the study as the reader `folders` takes it; empty: drawn images.
        device: auto takes a CUDA GPU where there is one.
        tiny: sizes at which figures mean nothing, but every line is run.
    """

    output: str
    parts: tuple[str, ...] = ()
    data: str = ""
    device: str = "auto"
    tiny: bool = False


Part = Callable[[], Result]


def plan(chosen: Options) -> dict[str, Part]:
    """Return the parts by name, in their order: what is claimed first comes first."""
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
    """Run the parts, and keep what is known after each.

    Returns:
        How many parts failed.

    Raises:
        InputError: if a part is asked for that does not exist.
    """
    parts = plan(chosen)
    wanted = choose(chosen.parts, parts) if chosen.parts else list(parts)
    known = earlier(Path(chosen.output), parts)
    for number, name in enumerate(wanted, 1):
        say(f"{name} ({number} of {len(wanted)})")
        known[name] = attempt(parts[name])
        say(as_page(known[name]) + "\n")
        write(Path(chosen.output), known)
    return sum("error" in known[name] for name in wanted)


def choose(asked: Sequence[str], parts: Iterable[str]) -> list[str]:
    """Return the names among `parts` that are asked for, or that begin with what is asked for and a "/".

    Raises:
        InputError: if something is asked for that does not exist.
    """
    chosen = {part: [name for name in parts if name == part or name.startswith(f"{part}/")] for part in asked}
    if unknown := [part for part, names in chosen.items() if not names]:
        raise InputError(f"parts={','.join(unknown)} is not known: choose of {', '.join(parts)}.")
    return list(dict.fromkeys(name for names in chosen.values() for name in names))


def earlier(folder: Path, parts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return what earlier calls have left of these parts in the folder: they may be run one by one."""
    file = folder / "gpu.json"
    known = read_json(file)["parts"] if file.exists() else {}
    return {name: known[name] for name in parts if name in known}


def study_page(known: Mapping[str, Any]) -> str:
    """Return one table of the study's runs that are known, with their minutes together; empty for fewer than two."""
    runs = [result for name, result in known.items() if name.startswith("study/") and "rows" in result]
    rows = study.with_total([row for run in runs for row in run["rows"]])
    return markdown(Result("study", runs[0]["title"], rows)) if len(runs) > 1 else ""


def as_page(result: Mapping[str, Any]) -> str:
    """Return what `gpu.md` says of a part."""
    if "error" in result:
        return f"Failed: {result['error']}"
    return markdown(Result(result["name"], result["title"], result["rows"]))


def attempt(part: Part) -> dict[str, Any]:
    """Run a part, and return what JSON holds of it: its result, or why there is none."""
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
