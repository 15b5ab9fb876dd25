"""One checkpoint on one set of images: predicted, evaluated, and the score threshold that suits them."""

import time
from pathlib import Path
from statistics import median

from nucleiseg.devices import device_name
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.scoring import ScoredImage, best_threshold
from nucleiseg.inference.count_threshold import COUNT_THRESHOLD
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.leaderboard.cache import Evaluation, Facts
from nucleiseg.leaderboard.evaluating_checkpoint import refuse_other_classes
from nucleiseg.leaderboard.image_sets import ImageSet
from nucleiseg.leaderboard.record import EvaluationRecord
from nucleiseg.models.checkpoint import Metadata, load
from nucleiseg.models.mask_rcnn import MaskRCNN


def score_checkpoint(file: Path, images: ImageSet, settings: PredictionSettings) -> Evaluation:
    """Predict the images with a checkpoint and evaluate what it finds.

    Args:
        file: the checkpoint.
        images: what it is scored on.
        settings: how it predicts.

    Raises:
        InputError: if the file is no checkpoint, or knows other classes than the images have.
    """
    return score_network(*load(file), images, settings)


def score_network(network: MaskRCNN, metadata: Metadata, images: ImageSet, settings: PredictionSettings) -> Evaluation:
    """Do the same with a network in memory.

    Counts and label maps of validation images use the score threshold that is best on them, which is what `best.ckpt`
    then carries: a little hopeful, alike for all checkpoints. On other images nothing is chosen: the checkpoint's own
    threshold is used there, and where it has none, `COUNT_THRESHOLD`.
    """
    refuse_other_classes(metadata.class_names, images.datamodule.class_names)
    predictor = Predictor(network, metadata, settings)
    scored, seconds = [], []
    for truth in images.truths:
        sample = images.sample(truth.name)
        start = time.perf_counter()
        found = Instances.from_prediction(predictor.predict(sample.image, images.mpp))
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
    )
    parameters = sum(weight.numel() for weight in network.parameters())
    return Evaluation(record, Facts(parameters, metadata.weights, stored, chosen))
