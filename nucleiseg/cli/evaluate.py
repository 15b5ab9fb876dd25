"""The command `evaluate`: score a file of results, or a checkpoint on a data set."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nucleiseg.cli.groups import qualified_errors
from nucleiseg.cli.paths import require_writable_file
from nucleiseg.data.build import read_data_keys
from nucleiseg.data.cache import SampleCache
from nucleiseg.data.classes import ONE, ClassChoice
from nucleiseg.errors import InputError
from nucleiseg.evaluation.coco_truth import read_coco
from nucleiseg.evaluation.report import evaluate as evaluate_images
from nucleiseg.evaluation.results import Results, read_results
from nucleiseg.evaluation.sizes import NUCLEI_SIZES
from nucleiseg.evaluation.truth import Truth, read_folder
from nucleiseg.files import cache_folder, require_regular_file, write_json
from nucleiseg.inference.count_threshold import COUNT_THRESHOLD
from nucleiseg.inference.image_ids import read_ids
from nucleiseg.inference.settings import PredictionSettings, ScoredPredictionSettings
from nucleiseg.leaderboard.checkpoint_scoring import predict_data
from nucleiseg.progress import counted, echo
from nucleiseg.settings import PathText, Problems, Share, settings, shown
from nucleiseg.structures import NUCLEUS
from nucleiseg.writers.origin import read_origin
from nucleiseg.writers.result_set import require_whole

LINES = (
    ("AP, AP50, AP75 at all detections", ("ap", "ap50", "ap75")),
    ("AP, AP50, AP75 at 100 an image", ("ap_100", "ap50_100", "ap75_100")),
    ("AP50 at 100 an image is at most", ("ap50_100_ceiling",)),
    ("Boxes: AP, AP50, AP75 at all", ("box_ap", "box_ap50", "box_ap75")),
    ("Boxes: AP, AP50, AP75 at 100", ("box_ap_100", "box_ap50_100", "box_ap75_100")),
    ("AJI, AJI+", ("aji", "aji_plus")),
    ("DQ (F1), SQ, PQ", ("dq", "sq", "pq")),
    ("Dice", ("dice",)),
    ("Count error: mean absolute, bias", ("count_mae", "count_bias")),
)
"""Lines of the printed summary: a label and the metrics after it."""


@settings
class EvaluateKeys(ScoredPredictionSettings):
    """The keys of `conf/evaluate.yaml`, which explains them."""

    predictions: PathText | None = None
    truth: PathText | None = None
    ids: PathText | None = None
    checkpoint: PathText | None = None
    data: dict[str, Any] | None = None
    classes: ClassChoice = None
    output: PathText = "metrics.json"
    count_threshold: Share | None = None
    cache_dir: PathText | None = None

    def contradictions(self, at: str) -> Iterable[str]:
        """Yield a sentence unless results and truth, or a checkpoint and data, are given."""
        yield from super().contradictions(at)
        given = [key for key in ("predictions", "truth", "ids", "checkpoint", "data") if getattr(self, key) is not None]
        if given not in (["predictions", "truth"], ["predictions", "truth", "ids"], ["checkpoint", "data"]):
            yield (
                f"{' and '.join(f'{at}{key}' for key in given) or 'Nothing'} cannot be scored: pass predictions=FILE "
                "truth=FILE_OR_FOLDER for a file of results, or checkpoint=FILE_OR_RUN data=folders data.root=DIR for "
                "a checkpoint."
            )
        elif self.checkpoint is None:
            usual = ScoredPredictionSettings().scored_settings()
            for key, value in self.scored_settings().items():
                if value != usual[key]:
                    accepted = "none" if key == "tta" else _text(usual[key])
                    yield (
                        f"{at}{key} is {_text(value)}; it accepts {accepted} for results that exist already: give it "
                        "to predict.py."
                    )
        elif self.classes is not None:
            yield (
                f"{at}classes is {shown(self.classes)}; it accepts null for a checkpoint, whose data have a key of "
                "their own (data.classes)."
            )


def _text(value: object) -> str:
    """Return a value as on a command line, where texts have no quotes."""
    return value if isinstance(value, str) else shown(value)


def check(config: Mapping[str, Any]) -> EvaluateKeys:
    """Check every key of the command without accessing files.

    Raises:
        InputError: with a sentence for every problem.
    """
    problems = Problems()
    keys = problems.taking(lambda: EvaluateKeys.from_dict(config, ""))
    if isinstance(data := config.get("data"), Mapping):
        problems.taking(lambda: read_data_keys(data))
    problems.raise_found()
    assert keys is not None
    return keys


def evaluate(**keys: Any) -> int:  # noqa: ANN401
    """Evaluate a result file, or a checkpoint on a data set, and write every metric.

    Args:
        **keys: see `EvaluateKeys`; paths may also be path objects.

    Returns:
        The number of images without readable truth, which are left out.

    Raises:
        InputError: if a key is refused, results or truth are unreadable or inconsistent, or the output cannot be
            written.
    """
    wanted = check(keys)
    require_writable_file(Path(wanted.output))
    known, results, threshold = _read_or_predict(wanted)
    report = evaluate_images(known.images, results.images, threshold, known.categories).to_dict()
    notes = [*known.notes, *results.notes]
    unreadable = {image.name: image.problems for image in known.unreadable}
    sources = {key: getattr(wanted, key) for key in ("predictions", "truth", "checkpoint", "data")}
    given = {key: value for key, value in sources.items() if value is not None}
    if wanted.checkpoint is not None:
        given |= wanted.scored_settings()
    write_json(wanted.output, {**given, **report, "notes": notes, "unreadable": unreadable})
    _print_summary(report, notes, wanted.output)
    if unreadable:
        echo(f"Left out, because their truth cannot be read: {', '.join(unreadable)}.")
    return len(unreadable)


def _read_or_predict(wanted: EvaluateKeys) -> tuple[Truth, Results, float]:
    """Return the truth, the results, and the score threshold of counts and label maps."""
    if wanted.checkpoint is not None and wanted.data is not None:
        prediction = PredictionSettings.from_dict(wanted.scored_settings(), "")
        with qualified_errors({"data": wanted.data}):
            return predict_data(wanted.checkpoint, wanted.data, wanted.count_threshold, prediction)
    assert wanted.predictions is not None
    assert wanted.truth is not None
    results_file = Path(wanted.predictions)
    require_whole(results_file.parent)
    threshold = _count_threshold(wanted.count_threshold, results_file)
    cache = SampleCache(wanted.cache_dir or cache_folder())
    categories = _categories(results_file)
    classes = wanted.classes
    if classes is None and categories:
        names = tuple(categories.values())
        classes = names if names != (NUCLEUS,) else "one"
    known = _read_truth(Path(wanted.truth), _ids_file(wanted.ids, results_file), cache, classes)
    for problem in dict.fromkeys(problem for image in known.unreadable for problem in image.problems):
        echo(problem)
    if wanted.classes == ONE:
        numbers = dict.fromkeys(categories, next(iter(known.categories)))
    else:
        known, numbers = known.with_categories(categories)
    return known, read_results(results_file, known, numbers), threshold


def _categories(predictions: Path) -> dict[int, str]:
    """Return the classes of results by their numbers as the sidecar of an answer has them; empty if there is none."""
    try:
        origin = read_origin(predictions)
    except InputError:  # results of another tool, or of another place
        return {}
    return {} if origin is None else origin.categories


def _ids_file(ids: str | None, predictions: Path) -> Path | None:
    """Return the given file of image ids, or `images.json` beside the results; None without either."""
    if ids is not None:
        return Path(ids)
    beside = predictions.parent / "images.json"
    if not beside.is_file():
        return None
    echo(f"Using the image ids of {beside} (ids= gives another file).")
    return beside


def _read_truth(path: Path, ids: Path | None, cache: SampleCache, classes: ClassChoice) -> Truth:
    if not path.exists():
        raise InputError(f"truth={path} does not exist: give a COCO JSON file or a folder of masks.")
    if path.is_dir():
        if ids is None:
            raise InputError(
                f"truth={path} is a folder, and no images.json lies beside the results: give the file of image ids, "
                f'ids=FILE with [{{"file_name", "id", "height", "width"}}, ...], that the results were made with.'
            )
        return read_folder(path, read_ids(ids), str(ids), cache, classes)
    truth = read_coco(path)
    return truth if ids is None else truth.renumbered(read_ids(ids), str(ids))


def _count_threshold(wanted: float | None, predictions: Path) -> float:
    """Return the given threshold, else that of all lines of `counts.csv` beside the results, else 0.5."""
    if wanted is not None:
        return wanted
    beside = predictions.parent / "counts.csv"
    try:
        require_regular_file(beside)
        with beside.open(encoding="utf-8", newline="") as handle:
            thresholds = {float(line["threshold"]) for line in csv.DictReader(handle)}
    except (InputError, OSError, ValueError, KeyError, TypeError, csv.Error):
        thresholds = set()
    if len(thresholds) != 1 or not 0 <= max(thresholds) <= 1:
        return COUNT_THRESHOLD
    (threshold,) = thresholds
    echo(f"Using the score threshold {threshold:g} of {beside} for counts and label maps (or set count_threshold=).")
    return threshold


def _print_summary(report: dict[str, Any], notes: list[str], output: str) -> None:
    for note in notes:
        echo(f"Note: {note}")
    counts = [counted(report[f"{noun}s"], noun) for noun in ("image", "truth", "result")]
    echo(f"{', '.join(counts)}:")
    for text, keys in LINES:
        echo(f"  {text:33} {'  '.join(_number(report[key]) for key in keys)}")
    for name, group in _groups(report).items():
        numbers = "  ".join(_number(group[key]) for key in ("ap", "ap50", "ap75"))
        echo(f"  {name:33} {numbers}  ({counted(group['truths'], 'truth')})")
    echo(f"Written to {output}: all metrics with their definitions, pooled and per image.")


def _groups(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the groups with a separate AP: sizes of nuclei that occur, and classes if there are several."""
    sizes = {
        f"AP, AP50, AP75, {size.name.replace('_', ' ')}": report["by_size"][size.name]
        for size in NUCLEI_SIZES
        if report["by_size"][size.name]["truths"]
    }
    classes = report["per_class"] if len(report["per_class"]) > 1 else {}
    return sizes | {f"AP, AP50, AP75 of {name}": group for name, group in classes.items()}


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
