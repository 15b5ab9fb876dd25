"""Predict many images, reading ahead of the network."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import numpy as np

from nucleiseg.errors import InputError
from nucleiseg.failures import is_out_of_memory
from nucleiseg.inference.images import InputImage
from nucleiseg.inference.predictor import Predictor, PreparedImage
from nucleiseg.pipelining import run_ahead
from nucleiseg.progress import track
from nucleiseg.structures import Prediction

AHEAD = 2
"""Images that are read and resized while the network has another, a thread each: both together take a core some 45 ms
for a PNG of 1000 x 1000, and a GPU should not wait for one core."""


def predict_all(
    predictor: Predictor, images: Sequence[InputImage], report: Callable[[InputImage, str], None]
) -> Generator[tuple[InputImage, np.ndarray, Prediction], None, None]:
    """Predict images in order, with progress; those that fail are reported and left out.

    The next images are read and resized in threads while the network has one: at most `AHEAD` + 1 are in memory.

    Args:
        predictor: detects the instances.
        images: what to predict.
        report: called with an image that cannot be predicted, and a sentence that says why.

    Yields:
        (the input, its (H, W, 3) uint8 RGB pixels, its instances in source pixels).
    """
    images = list(images)  # iterated twice

    def prepare(item: InputImage) -> PreparedImage:
        return predictor.prepare(item.read(predictor.preprocessing.bits), predictor.mpp_of(item.path))

    with closing(run_ahead(prepare, images, threads=AHEAD, ahead=AHEAD)) as prepared:
        for item, future in zip(track(images, "Predicting images"), prepared, strict=True):
            try:
                image = future.result()
                prediction = predictor.run(image)
            except InputError as error:
                sentence = str(error)
                report(item, sentence if str(item.path) in sentence else f"{item.path}: {sentence}")
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                report(
                    item,
                    f"{item.path} does not fit into memory: predict it in tiles (tile=1024), or give a smaller scale.",
                )
            else:
                yield item, image.pixels, prediction
