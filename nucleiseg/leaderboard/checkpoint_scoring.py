"""Score a checkpoint: predict images, evaluate the detections, choose the score threshold."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from nucleiseg.data.classes import ONE
from nucleiseg.devices import device_name
from nucleiseg.errors import InputError
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.results import Results
from nucleiseg.evaluation.scoring import ScoredImage, best_threshold
from nucleiseg.evaluation.truth import Truth
from nucleiseg.inference.count_threshold import COUNT_THRESHOLD, counting_threshold
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.leaderboard.cache import CheckpointInfo, Evaluation
from nucleiseg.leaderboard.image_sets import ImageSet, scored_records, set_up_data, with_bits, with_classes
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.models.checkpoint import Metadata, load
from nucleiseg.models.mask_rcnn import MaskRCNN
from nucleiseg.progress import echo, track
from nucleiseg.run_tables import find_checkpoint
from nucleiseg.structures import NUCLEUS, Sample


def mpp_of(sample: Sample, mpp: float | None) -> float | None:
    """Return the micrometers per pixel of an image by those of its data set; None: unknown."""
    return None if mpp is None else mpp * sample.zoom


def score_checkpoint(file: Path, images: ImageSet, settings: PredictionSettings) -> Evaluation:
    """Predict the images with a checkpoint and evaluate its detections.

    Raises:
        InputError: if the file is not a checkpoint, its network overflows, or it has other classes than the images.
    """
    return score_network(*load(file), images, settings)


def score_network(network: MaskRCNN, metadata: Metadata, images: ImageSet, settings: PredictionSettings) -> Evaluation:
    """Predict the images with a network in memory and evaluate its detections.

    Counts and label maps of validation images use the score threshold that is best on them, which `best.ckpt` then
    stores: slightly optimistic, equally for all checkpoints. On other images they use the threshold stored in the
    checkpoint, or `COUNT_THRESHOLD`.
    """
    refuse_other_classes(metadata.class_names, images.datamodule.class_names)
    predictor = Predictor(network, metadata, settings)
    scored, seconds = [], []
    for truth in images.truths:
        sample = images.sample(truth.name)
        start = time.perf_counter()
        found = Instances.from_prediction(predictor.predict(sample.image, mpp_of(sample, images.mpp)))
        seconds.append(time.perf_counter() - start)
        scored.append(ScoredImage(truth, found))
    chosen = best_threshold(scored) if images.are_validation else None
    stored = metadata.score_threshold
    threshold = next((value for value in (chosen, stored) if value is not None), COUNT_THRESHOLD)
    record = EvaluationRecord.of(
        images.truths,
        {image.truth.image_id: image.found for image in scored},
        max(threshold, predictor.score_threshold),
        median(seconds),
        device_name(predictor.device),
        dict(enumerate(images.datamodule.class_names, 1)),
    )
    info = CheckpointInfo(
        parameters=sum(weight.numel() for weight in network.parameters()),
        weights=metadata.weights,
        stored_threshold=stored,
        chosen_threshold=chosen,
    )
    return Evaluation(record, info)


def predict_data(
    checkpoint: str, data: Mapping[str, Any], count_threshold: float | None, settings: PredictionSettings
) -> tuple[Truth, Results, float]:
    """Predict the validation images of a data configuration, or all images if it has none.

    Args:
        checkpoint: a file, or a run's folder.
        data: the keys of the `data` group.
        count_threshold: least score of a detection that counts, 0 .. 1; None takes the checkpoint's.
        settings: of the prediction.

    Returns:
        The truth, the detections (image ids count from 1), and the threshold that counts.

    Raises:
        InputError: if the checkpoint or the data cannot be used, or their classes differ.
    """
    predictor = Predictor.from_checkpoint(find_checkpoint(Path(checkpoint)), settings)
    threshold = counting_threshold(predictor, count_threshold)
    names = predictor.metadata.class_names
    classes = ONE if names == (NUCLEUS,) else list(names)
    if data.get("classes") is None and classes != ONE:
        echo(f"The classes are those of the checkpoint: {', '.join(names)}.")
    datamodule = set_up_data(with_classes(with_bits(data, predictor.preprocessing.bits), classes))
    refuse_other_classes(predictor.metadata.class_names, datamodule.class_names)
    scored = []
    for number, record in enumerate(track(scored_records(datamodule), "Predicting images"), 1):
        sample = datamodule.load(record)
        scored.append(ScoredImage.of(sample, number, predictor.predict(sample.image, mpp_of(sample, datamodule.mpp))))
    seen = predictor.metadata.fingerprint == datamodule.fingerprint
    notes: tuple[str, ...] = ()
    if datamodule.val_records:
        whose = (
            ", which are the checkpoint's own validation images."
            if seen
            else " (all, without a split). The checkpoint was trained on other data, or on another split of them."
        )
        notes = (f"Scored are the {len(datamodule.val_records)} images that val or fold hold out{whose}",)
    elif seen:
        notes = ("The checkpoint was trained on these very images: expect lower numbers on others.",)
    truth = Truth(tuple(image.truth for image in scored), dict(enumerate(datamodule.class_names, 1)), notes=notes)
    return truth, Results({image.truth.image_id: image.found for image in scored}), threshold


def refuse_other_classes(of_network: Sequence[str], of_data: Sequence[str]) -> None:
    """Refuse a checkpoint whose classes differ from those of the data.

    Raises:
        InputError: naming both.
    """
    if tuple(of_network) != tuple(of_data):
        raise InputError(
            f"The checkpoint has the classes {', '.join(of_network)}, the data have {', '.join(of_data)}: "
            "give data of the same classes in the same order."
        )
