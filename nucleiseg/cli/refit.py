"""Retrain the setting of the best checkpoint on all images of its data."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import yaml

import nucleiseg
from nucleiseg.cli.overrides import UNQUOTED, quoted
from nucleiseg.errors import InputError
from nucleiseg.files import require_regular_file
from nucleiseg.invocation import invocation
from nucleiseg.leaderboard.candidates import EvaluationJob
from nucleiseg.progress import echo

OVERRIDES = Path(".hydra") / "overrides.yaml"
"""The command line of a run, in its folder."""

MOST_BYTES = 1 << 20
"""Largest file of overrides that is read."""

REPLACED = {
    *("data.val", "data.fold", "data.folds", "data.fraction", "data.fraction_seed"),
    *("trainer.max_steps", "resume", "trust"),
    *("optim.schedule.total_steps", "optim.total_steps"),  # current and earlier key
}
"""Keys that are not copied from the run's command line, besides the groups `hydra` and `sweep`."""


def refit_arguments(best: EvaluationJob, folder: Path) -> list[str]:
    """Return the arguments of `train.py` that train a checkpoint's setting on all images of its data.

    The new run stops at the step of the checkpoint but has the learning rate schedule of the complete old run.

    Args:
        best: the checkpoint.
        folder: of the new run.

    Raises:
        InputError: if the run's command line is missing or damaged.
    """
    path = best.run.folder / OVERRIDES
    try:
        if require_regular_file(path) > MOST_BYTES:
            raise InputError(f"{path} has more than {MOST_BYTES >> 20} MiB, so it is not a list of overrides.")
        overrides = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it.") from error
    if not isinstance(overrides, list) or not all(isinstance(item, str) for item in overrides):
        raise InputError(f"{path} is not a list of overrides: restore it.")
    kept = []
    for item in overrides:
        key = item.lstrip("+~").partition("=")[0].partition("@")[0]  # of ++a.b=1, ~a.b, a@b=c
        if key not in REPLACED and key.replace("/", ".").partition(".")[0] not in ("hydra", "sweep"):
            kept.append(item)
    config = best.run.config
    schedule = (config.get("optim") or {}).get("schedule") or {}
    total = schedule.get("total_steps") or (config.get("trainer") or {}).get("max_steps")
    # only a schedule with a total length would change with the number of steps
    length = [f"optim.schedule.total_steps={total}"] if "total_steps" in schedule else []
    images = ["data.val=none", "data.fold=null"]
    where = str(folder) if UNQUOTED.fullmatch(str(folder)) else quoted(folder)
    return [*kept, *images, f"trainer.max_steps={best.step}", *length, f"hydra.run.dir={where}"]


def refit(best: EvaluationJob, folder: Path, *, run: bool) -> None:
    """Print the command that trains a checkpoint's setting on all images; run it and wait if `run` is set.

    Raises:
        InputError: if the run's command line is missing or damaged, names classes to import, or the training fails.
    """
    arguments = refit_arguments(best, folder)
    echo(f"To train {best.setting.name} on all images: {invocation('train')} {shlex.join(arguments)}")
    if not run:
        return
    if any("_target_" in item for item in arguments):  # the file must not choose code to run
        raise InputError(f"{best.run.name} names classes on its command line (_target_): run the command yourself.")
    # the package may not be installed, so that only this process finds it
    paths = [str(Path(nucleiseg.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "nucleiseg", "train", *arguments]
    code = subprocess.run(command, check=False, env=environment).returncode
    if code:
        raise InputError(f"The training on all images in {folder} ended with exit code {code}: see the messages above.")
