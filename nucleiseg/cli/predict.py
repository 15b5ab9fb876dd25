"""The command `predict`: find the nuclei of images with a checkpoint."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from nucleiseg.cli.paths import require_writable_folder
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError, some
from nucleiseg.inference.images import find_images
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.progress import counted, echo
from nucleiseg.run_tables import find_checkpoint
from nucleiseg.setting_sentences import Accepts
from nucleiseg.settings import AsTuple, PathText, Share, settings, shown
from nucleiseg.slides.computing import checked_shard
from nucleiseg.slides.opening import is_slide
from nucleiseg.slides.outputs import DEFAULT_SLIDE_FORMATS
from nucleiseg.slides.run import MaskKind, SlideOptions, predict_slide
from nucleiseg.version import __version__
from nucleiseg.writers.origin import CheckpointOrigin, Origin, answer_digest
from nucleiseg.writers.prediction_folder import predict_to_folder
from nucleiseg.writers.prediction_run import PredictionSummary
from nucleiseg.writers.registry import DEFAULT_FORMATS, FORMATS
from nucleiseg.writers.result_set import is_begun

DEMO = DemoReader(images=4, size=384, seed=1)
"""Images of `input=demo`, unless there is a file or folder `demo`; demo runs train on seed 0."""

SLIDE_KEYS = ("mask", "regions", "shard", "workers", "scheduler")
"""Keys that have an effect on slides alone; a slide's blocks are always resumed."""

NOT_OF_THE_RESULTS = (
    *("checkpoint", "input", "output", "ids", "device", "resume"),
    *("count_threshold", "write", "overlays"),  # `predict_to_folder` adds their resolved values
    "slide",
    *SLIDE_KEYS,
)
"""Keys that a resumed prediction may change: paths, whose contents are compared instead, and the device."""


@settings
class PredictKeys(PredictionSettings):
    """The keys of `conf/predict.yaml`, which explains them."""

    checkpoint: PathText
    input: PathText
    output: PathText = "predictions"
    ids: PathText | None = None
    score_threshold: Share | None = 0.05
    count_threshold: Share | None = None
    write: Annotated[tuple[str, ...], AsTuple] = DEFAULT_FORMATS
    overlays: bool = True
    resume: bool = False
    slide: Literal["auto"] | bool = "auto"
    mask: MaskKind = "tissue"
    regions: PathText | None = None
    shard: Annotated[str, AfterValidator(checked_shard), Accepts("i/n, such as 3/8, or null")] | None = None
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    scheduler: str | None = None

    def contradictions(self, at: str) -> Iterable[str]:
        """Yield the contradictions of the prediction's settings and a sentence for each unknown format."""
        yield from super().contradictions(at)
        unknown = [name for name in self.write if name not in FORMATS]
        yield from (f"{at}write has {shown(name)}; it accepts a list of {', '.join(FORMATS)}." for name in unknown)
        if self.scheduler is not None and self.workers > 1:
            yield f"{at}workers is {self.workers}; it accepts 1 beside {at}scheduler, which has workers of its own."


def check(config: Mapping[str, Any]) -> PredictKeys:
    """Check every key of the command without accessing files.

    Raises:
        InputError: with a sentence for every problem.
    """
    return PredictKeys.from_dict(config, "")


def predict(**keys: Any) -> int:  # noqa: ANN401
    """Predict images with a checkpoint and print a summary.

    Args:
        **keys: see `PredictKeys`; paths may also be path objects.

    Returns:
        The number of images that failed.

    Raises:
        InputError: if a key is refused, the checkpoint or input cannot be read, or the output cannot be written.
    """
    wanted = check(keys)
    folder = Path(wanted.output)
    require_writable_folder(folder)
    checkpoint = find_checkpoint(Path(wanted.checkpoint))
    predictor = Predictor.from_checkpoint(checkpoint, wanted)
    made_by = CheckpointOrigin.of(checkpoint, predictor.metadata)
    source = Path(wanted.input)
    if wanted.input == "demo" and not source.exists():
        source = folder / "demo_data"
        if not (wanted.resume and is_begun(folder)):  # resuming compares modification times
            render_demo(source)
    if is_slide(source) if wanted.slide == "auto" else wanted.slide:
        return _predict_slide(wanted, predictor, source, (checkpoint, made_by.checkpoint_sha256))
    if only := [name for name in SLIDE_KEYS if getattr(wanted, name) != getattr(PredictKeys, name, None)]:
        raise InputError(
            f"{some(only)} is for slides, and input={source} is none: leave it out, or give slide=true for a TIFF file."
        )
    images = find_images(source, wanted.ids)
    request = {key: value for key, value in wanted.to_dict().items() if key not in NOT_OF_THE_RESULTS}
    summary = predict_to_folder(
        predictor,
        images,
        folder,
        wanted.count_threshold,
        wanted.overlays,
        write=wanted.write,
        request={**request, "checkpoint": made_by.checkpoint_sha256, "version": __version__},
        resume=wanted.resume,
        origin=partial(_origin, made_by, predictor),
    )
    _print_summary(summary, folder, [name for name in wanted.write if wanted.overlays or name != "overlays"])
    return len(summary.failed)


def _predict_slide(wanted: PredictKeys, predictor: Predictor, source: Path, checkpoint: tuple[Path, str]) -> int:
    """Predict a slide; return 0, since a slide fails as a whole, with an error."""
    folder = Path(wanted.output)
    options = SlideOptions(
        mask=wanted.mask,
        regions=None if wanted.regions is None else Path(wanted.regions),
        shard=wanted.shard,
        workers=wanted.workers,
        scheduler=wanted.scheduler,
        write=DEFAULT_SLIDE_FORMATS if wanted.write == DEFAULT_FORMATS else wanted.write,
        count_threshold=wanted.count_threshold,
    )
    summary = predict_slide(source, predictor, checkpoint, folder, options)
    if summary.nuclei is not None:
        nuclei, windows = counted(summary.nuclei, "nucleus", "nuclei"), counted(summary.windows, "window")
        echo(f"{source.name}: {nuclei} in {windows}, written to {folder} ({', '.join(options.write)}).")
    return 0


def _origin(made_by: CheckpointOrigin, predictor: Predictor, summary: PredictionSummary, answer: Path) -> Origin:
    """Return the origin of an answer, for its sidecar."""
    shown = predictor.preprocessing
    is_by_rule = shown == replace(predictor.trained, bits=shown.bits) and shown.scale is None
    return Origin(
        **vars(made_by),
        score_threshold=predictor.score_threshold,
        count_threshold=summary.count_threshold,
        nms=predictor.network.roi_heads.nms_thresh,
        detections=predictor.detections,
        scale=shown.scale,
        short=None if is_by_rule else shown.short,
        long=None if is_by_rule else shown.long,
        preprocessing=shown.to_dict(),
        mpp=predictor.mpp,
        **predictor.settings.scored_settings(),
        tile_overlap=predictor.settings.tile_overlap,
        images=summary.done,
        results=summary.results,
        answer_sha256=answer_digest(answer),
    )


def _print_summary(summary: PredictionSummary, folder: Path, formats: Sequence[str]) -> None:
    images = counted(summary.done, "image")
    nuclei = counted(summary.nuclei, "nucleus", "nuclei")
    files = ["counts.csv", "images.json", *(name for name in formats if name != "coco")]
    files = ["answer.zip", *files] if "coco" in formats else files
    echo(f"{images} with {nuclei}: {folder / files[0]}, {', '.join(files[1:])}.")
    if summary.failed:
        echo(f"{counted(len(summary.failed), 'image')} failed: {', '.join(summary.failed)}.")


def render_demo(folder: Path) -> None:
    """Render the demo images with their masks into a folder, and log that they are synthetic."""
    write_folders(DEMO, folder)
    echo(f"Rendered {DEMO.images} images with their masks into {folder}.")
    echo("NOTE: they are SYNTHETIC, not photographed: results on them do not hold for real tissue.")
