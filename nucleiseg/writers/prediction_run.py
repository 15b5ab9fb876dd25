"""Predict images, write the files of each, and assemble those of all."""

import errno
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from nucleiseg.data.readers.resolution import read_mpp
from nucleiseg.inference.images import InputImage
from nucleiseg.inference.prediction_stream import predict_all
from nucleiseg.inference.predictor import Predictor
from nucleiseg.pipelining import run_ahead
from nucleiseg.progress import echo
from nucleiseg.rle import area
from nucleiseg.structures import Prediction
from nucleiseg.writers.base import FinishedImage, PredictedImage, Writer
from nucleiseg.writers.counts import Count, capped_sentence, open_counts
from nucleiseg.writers.journal import Journal
from nucleiseg.writers.submission import open_items

BEHIND = 3
"""Images that are written while the network has another, a thread each: encoding and an overlay take a core some 0.15 s
for 1000 x 1000 pixels with 500 nuclei, and a GPU finds them in a fraction of it."""

NAME_ERRORS = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)
"""System errors that concern one file's name: the other images still get their files."""


@dataclass
class PredictionSummary:
    """The outcome of a prediction.

    Attributes:
        count_threshold: least score of a detection that was counted and drawn.
        done: number of images whose results were written.
        nuclei: number of detections that were counted, of all images.
        results: number of detections with a pixel, of any score: those in `answer.json`.
        failed: image file name -> sentence, for those without results.
    """

    count_threshold: float
    done: int = 0
    nuclei: int = 0
    results: int = 0
    failed: dict[str, str] = field(default_factory=dict)

    def fail(self, image: InputImage, sentence: str) -> None:
        """Log why an image has no result, and count it."""
        echo(sentence)
        self.failed[image.file_name] = sentence


@dataclass(frozen=True)
class PredictionRun:
    """The parts of a prediction into a folder.

    Attributes:
        predictor: detects the instances.
        writers: the chosen formats.
        paths: image name -> format -> path of its file below the folder, for formats with a file an image.
        folder: where the files are written, before they replace older ones together.
        journal: the finished images.
        summary: updated as images are finished or fail.
        checkpoint: digest of the checkpoint; empty if unknown.
    """

    predictor: Predictor
    writers: Mapping[str, Writer]
    paths: Mapping[str, Mapping[str, str]]
    folder: Path
    journal: Journal
    summary: PredictionSummary
    checkpoint: str

    def predict(self, images: Sequence[InputImage]) -> None:
        """Predict images, and append each to the journal when its files are on the disk."""
        with (
            closing(self._predicted(images)) as predicted,
            closing(run_ahead(self._write, predicted, threads=BEHIND, ahead=BEHIND)) as written,
        ):
            for future in written:
                image, problem = future.result()
                if problem is not None:
                    self.summary.fail(image, problem)

    def _predicted(self, images: Sequence[InputImage]) -> Generator[PredictedImage, None, None]:
        with closing(predict_all(self.predictor, images, self.summary.fail)) as stream:
            for source, pixels, prediction in stream:
                yield self._predicted_image(source, pixels, prediction)

    def _predicted_image(self, source: InputImage, pixels: np.ndarray, prediction: Prediction) -> PredictedImage:
        """Collect what writers need of an image; log a limit that was reached before the network gets the next one."""
        if prediction.capped:
            echo(f"{source.name}: {capped_sentence(len(prediction), self.predictor.detections)}")
        # A file that states nothing was predicted at the scale of the training, as if it had its micrometers per pixel.
        mpp = self.predictor.mpp_of(source.path) or read_mpp(source.path) or self.predictor.preprocessing.mpp
        return PredictedImage(
            source=source,
            pixels=pixels,
            prediction=prediction,
            threshold=self.summary.count_threshold,
            class_names=self.predictor.metadata.class_names,
            mpp=mpp,
            checkpoint=self.checkpoint,
            capped=prediction.capped,
            category_ids=self.predictor.metadata.category_ids,
            class_colors=self.predictor.metadata.class_colors,
        )

    def _write(self, image: PredictedImage) -> tuple[InputImage, str | None]:
        """Write the files of an image and its record; return the image with a sentence where that is impossible."""
        source = image.source
        paths = {name: self.folder / path for name, path in self.paths[source.name].items()}
        try:
            records = {
                name: writer.write_image(paths.get(name, self.folder), image) for name, writer in self.writers.items()
            }
        except (cv2.error, MemoryError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in NAME_ERRORS:
                raise
            return source, f"{source.path} is left out: its files cannot be written ({error})."
        height, width = image.prediction.size
        nuclei, results = int(image.counted.sum()), int((area(image.rles) > 0).sum())
        numbers = {"height": height, "width": width, "nuclei": nuclei, "results": results, "capped": image.capped}
        self.journal.append(source.name, **numbers, classes=image.class_counts, mpp=image.mpp, records=records)
        return source, None

    def assemble(self, images: Sequence[InputImage]) -> None:
        """Write the files of all images from the journal, in the images' order, and add them up."""
        summary = self.summary
        with ExitStack() as stack:
            add_entries = stack.enter_context(open_items(self.folder / "images.json"))
            names = self.predictor.metadata.class_names
            add_count = stack.enter_context(open_counts(self.folder / "counts.csv", names if len(names) > 1 else ()))
            add = {name: stack.enter_context(writer.assembly(self.folder)) for name, writer in self.writers.items()}
            for image in (image for image in images if image.name in self.journal):
                finished = self.journal.read(image.name)
                height, width, nuclei = finished["height"], finished["width"], finished["nuclei"]
                add_entries([image.entry(height, width)])
                found = (nuclei, summary.count_threshold, finished["capped"])
                add_count(
                    Count(
                        image.name,
                        image.image_id,
                        *found,
                        (height, width),
                        finished["mpp"],
                        finished.get("classes", {}),
                    )
                )
                for name, add_image in add.items():
                    add_image(FinishedImage(image, height, width, finished["records"][name]))
                summary.done += 1
                summary.nuclei += nuclei
                summary.results += finished["results"]
