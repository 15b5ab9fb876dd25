"""From a checkpoint and a data set to what is scored: the truth of its images, and what the network finds there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nucleiseg.data.build import build_datamodule
from nucleiseg.data.datamodule import NucleiDataModule
from nucleiseg.data.readers.base import Record
from nucleiseg.errors import InputError
from nucleiseg.evaluation.results import Results
from nucleiseg.evaluation.scoring import ScoredImage
from nucleiseg.evaluation.truth import Truth
from nucleiseg.inference.count_threshold import counting_threshold
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.progress import say, track
from nucleiseg.run_tables import find_checkpoint
from nucleiseg.transforms.preprocessing import Preprocessing


def predict_data(
    checkpoint: str, data: Mapping[str, Any], count_threshold: float | None, settings: PredictionSettings
) -> tuple[Truth, Results, float]:
    """Predict the images that `data.val` and `data.fold` hold out, or all of them for `data.val=none`.

    Args:
        checkpoint: a file, or a run's folder.
        data: the keys of the `data` group.
        count_threshold: 0 .. 1; None takes the checkpoint's.
        settings: how it predicts.

    Returns:
        The truth, what was found (image ids count from 1), and the threshold that counts.

    Raises:
        InputError: if the checkpoint or the data cannot be used, or do not have the same classes.
    """
    predictor = Predictor.from_checkpoint(find_checkpoint(Path(checkpoint)), settings)
    threshold = counting_threshold(predictor, count_threshold)
    datamodule = set_up_data(with_bits(data, predictor.preprocessing.bits))
    refuse_other_classes(predictor.metadata.class_names, datamodule.class_names)
    records = track(scored_records(datamodule), "Predicting images")
    samples = (datamodule.cache.load(datamodule.reader, record) for record in records)
    scored = [
        ScoredImage.of(sample, number, predictor.predict(sample.image, datamodule.mpp))
        for number, sample in enumerate(samples, 1)
    ]
    categories = dict(enumerate(datamodule.class_names, 1))
    truth = Truth(tuple(image.truth for image in scored), categories, notes=_notes(predictor, datamodule))
    return truth, Results({image.truth.image_id: image.found for image in scored}), threshold


def with_bits(data: Mapping[str, Any], bits: int | None) -> dict[str, Any]:
    """Return the keys of the `data` group with the camera's bits of a training where they name none.

    Args:
        data: the keys of the `data` group; readers without the key `bits` (drawn images) have nothing to decode.
        bits: per pixel, as the checkpoint's training images were decoded.
    """
    given = data.get("bits")
    if "bits" not in data or bits is None or given == bits:
        return dict(data)
    if given is None:
        return {**data, "bits": bits}
    say(f"Note: images are decoded with data.bits={given}, but the network was trained with {bits}.")
    return dict(data)


def set_up_data(data: Mapping[str, Any]) -> NucleiDataModule:
    """List, check and split the data of a configuration, as training would, and say so where they are drawn.

    Args:
        data: the keys of the `data` group.

    Raises:
        InputError: with every problem of the data, or of what is asked of them.
    """
    images = Preprocessing()  # not used: the predictor has its own
    datamodule = build_datamodule(data, train_transform=images, val_transform=images, seed=0, total_steps=1)
    datamodule.setup()
    if datamodule.reader.synthetic:
        say("NOTE: the data are DRAWN, not photographed. What is measured here says nothing about real tissue.")
    return datamodule


def scored_records(datamodule: NucleiDataModule) -> tuple[Record, ...]:
    """Return the images that are held out; where none is (`data.val=none`), all."""
    return datamodule.val_records or datamodule.train_records


def _notes(predictor: Predictor, datamodule: NucleiDataModule) -> tuple[str, ...]:
    """Say whether the network has seen the images in training, as far as fingerprints tell."""
    is_its_own = predictor.metadata.fingerprint == datamodule.fingerprint
    if not datamodule.val_records:
        return ("The checkpoint was trained on these very images: expect less on others.",) if is_its_own else ()
    note = f"Of the data set, the {len(datamodule.val_records)} images that data.val or data.fold hold out are scored"
    if is_its_own:
        return (f"{note}, those of the checkpoint's own validation.",)
    return (f"{note} (data.val=none: all). The checkpoint was trained on other data or another split of them.",)


def refuse_other_classes(of_network: Sequence[str], of_data: Sequence[str]) -> None:
    """Refuse a checkpoint that knows other classes than the data have.

    Raises:
        InputError: with both.
    """
    if tuple(of_network) != tuple(of_data):
        raise InputError(
            f"The checkpoint knows the classes {', '.join(of_network)}; the data have {', '.join(of_data)}: "
            "give data of the same classes in the same order."
        )
