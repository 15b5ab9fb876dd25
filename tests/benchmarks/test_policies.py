"""Policies of prediction: doubled nuclei are counted, and each policy has a row."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import policies
from nucleiseg.data.readers.demo import DemoReader, write_folders
from nucleiseg.errors import InputError
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.scoring import ScoredImage
from nucleiseg.evaluation.truth import ImageTruth
from nucleiseg.inference.tta import TTASettings
from nucleiseg.leaderboard.image_sets import ImageSet
from nucleiseg.models.checkpoint import Metadata, save
from nucleiseg.models.config import ModelConfig
from nucleiseg.models.mask_rcnn import build
from nucleiseg.rle import Crop, compress, run_lengths
from nucleiseg.structures import Sample


def bars(*spans: tuple[int, int]) -> list[dict[str, object]]:
    """Return run lengths of bars over columns of an image of 4 x 20."""
    return compress(
        [run_lengths(Crop(0, start, np.ones((4, stop - start), bool)), 4, 20) for start, stop in spans], 4, 20
    )


def test_doubled_nuclei_by_hand() -> None:
    layers = np.zeros((1, 4, 20), np.uint16)
    layers[0, :, :8], layers[0, :, 10:18] = 1, 2
    sample = Sample("a", np.zeros((4, 20, 3), np.uint8), layers, np.zeros(2, np.int64), np.ones(2, np.int64))
    truth = ImageTruth.of(sample, 1)
    # the first nucleus three times, one of them below the threshold; one result on both; one on the background
    masks = bars((0, 8), (2, 6), (1, 7), (4, 14), (18, 20))
    found = Instances(masks, [0.9, 0.8, 0.2, 0.9, 0.9], [1] * 5)
    assert policies.doubled(ScoredImage(truth, found), threshold=0.5) == 1
    assert policies.doubled(ScoredImage(truth, found), threshold=0.1) == 2
    assert policies.doubled(ScoredImage(truth, Instances()), threshold=0.1) == 0


def test_policies_are_named_by_the_cards() -> None:
    assert policies.tta_settings("none") == TTASettings()
    assert policies.tta_settings("flips:detectron2") == TTASettings(
        flips=("horizontal", "vertical"), merge="detectron2"
    )
    with pytest.raises(InputError, match="runs is missing; it accepts folders of runs"):
        policies.main(policies.Options())


@pytest.mark.slow
def test_every_policy_has_a_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = {"name": "tiny", "backbone": "resnet18", "norm": "gn", "fpn_channels": 16, "detection": {"limit": 30}}
    config = ModelConfig.from_dict(model)
    save(tmp_path / "step.ckpt", build(config, num_classes=1), Metadata(model=config.to_dict()))
    write_folders(DemoReader(images=2, size=64), tmp_path / "data")
    data = {"reader": "folders", "root": str(tmp_path / "data"), "val": "none", "cache_dir": "none"}
    case = policies.Case("one", 1, tmp_path / "step.ckpt", ImageSet(data))
    chosen = policies.Options(mask_nms=(0.3,), inside=(0, 0.5), tta=("flips", "flips:detectron2"), device="cpu")
    rows = list(policies.policies(case, chosen))
    assert [(row["tta"], row["nms"], row["mask_nms"], row["inside"]) for row in rows] == [
        *(("none", nms, *rest) for nms in (0.5, 0.7) for rest in ((None, None), (0.3, None), (0.3, 0.5))),
        ("flips", None, None, None),
        ("flips:detectron2", None, None, None),
    ]
    assert all(row.keys() == rows[0].keys() for row in rows)
