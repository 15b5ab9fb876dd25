"""The sentences of the data check: the numbers in them, and when they warn."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from nucleiseg.models.config import ModelConfig
from nucleiseg.models.part_configs import DetectionConfig, RPNConfig
from nucleiseg.report.anchor_fit import AnchorLevel
from nucleiseg.report.data_check import Finding, RunPlan, data_check
from nucleiseg.transforms.recipe import Recipe

RECIPE = Recipe()


def limited(detections: int = 1000, **limits: int) -> ModelConfig:
    """A model with these limits on candidates (`pre_nms_*`), proposals (`post_nms_*`) and detections, others 1000."""
    names = ("pre_nms_train", "pre_nms_test", "post_nms_train", "post_nms_test")
    rpn = RPNConfig(**(dict.fromkeys(names, 1000) | limits))
    return ModelConfig(name="r50_fpn", rpn=rpn, detection=DetectionConfig(limit=detections))


WIDE = limited()


@dataclass
class Summary:
    name: str
    height: int
    width: int
    boxes: np.ndarray = field(repr=False)


def make_summary(count: int, side: float = 20.0, size: int = 1000, seed: int = 0) -> Summary:
    corners = np.random.default_rng(seed).uniform(0, size - side, (count, 2))
    return Summary("image", size, size, np.concatenate([corners, corners + side], axis=1).astype(np.float32))


def squares(*sizes: float, stride: float = 4) -> list[AnchorLevel]:
    return [AnchorLevel(stride, np.array([[-s / 2, -s / 2, s / 2, s / 2] for s in sizes]))]


def check(counts: list[int], anchors: list[AnchorLevel] | None = None, **settings: object) -> list[Finding]:
    summaries = [make_summary(count, seed=index) for index, count in enumerate(counts)]
    arguments = {"recipe": RECIPE, "anchors": anchors or squares(24), "model": WIDE} | settings
    return data_check(summaries, **arguments)


def warnings(findings: list[Finding]) -> list[str]:
    return [sentence for level, sentence in findings if level == "warning"]


def test_counts_and_sizes_are_stated() -> None:
    findings = check([10, 20, 60])
    assert not warnings(findings)
    assert findings[0].sentence == (
        "3 images with 90 nuclei; in an image 10 at least, 20 in the median, 30 on average, 60 at most."
    )
    assert "1.22 pixels for each pixel of an image; there, nuclei measure 24, 24 and 24 pixels" in findings[1].sentence
    assert findings[2].sentence.startswith("100.0% of the nuclei have an anchor of IoU >= 0.5")


def test_scale_is_a_range_where_sizes_differ() -> None:
    summaries = [make_summary(5), make_summary(5, size=500)]
    findings = data_check(summaries, recipe=RECIPE, anchors=squares(24, 48), model=WIDE)
    assert "1.22 to 2.43 pixels" in findings[1].sentence


@pytest.mark.parametrize(("size", "warns"), [(1240, False), (1260, True)])
def test_scales_more_than_a_quarter_apart_warn(size: int, warns: bool) -> None:
    summaries = [make_summary(5), make_summary(5, size=size)]
    found = warnings(data_check(summaries, recipe=RECIPE, anchors=squares(24), model=WIDE))
    assert len(found) == warns
    if warns:
        assert "1.3 times as much" in found[0]
        assert "crop to [HEIGHT, WIDTH] in pixels, no larger than the smallest image allows (1000 x 1000)" in found[0]
    in_pixels = Recipe(crop=(500, 500))
    assert not warnings(data_check(summaries, recipe=in_pixels, anchors=squares(24), model=WIDE))


@pytest.mark.parametrize(
    ("anchors", "advice"),
    [
        (squares(128), "add a size near 24 to anchors.sizes, or enlarge with resize.short"),
        (squares(6), "add a size near 24 to anchors.sizes, or shrink with resize.short"),
        (squares(6, 100), "move anchors.sizes closer to 24, or take an FPN model"),
        (squares(24, stride=64), "anchors.sizes"),
    ],
)
def test_poor_anchors_warn_with_the_key_and_the_direction(anchors: list[AnchorLevel], advice: str) -> None:
    (warning,) = warnings(check([50], anchors))
    assert warning.startswith("Only ")
    assert advice in warning


def test_several_maps_are_not_told_to_take_several_maps() -> None:
    (warning,) = warnings(check([50], [*squares(6), *squares(100, stride=8)]))
    assert "anchors.sizes closer to 24." in warning


def test_a_limit_reports_its_cut_and_the_key_to_raise() -> None:
    model = limited(post_nms_train=20, post_nms_test=100, detections=50)
    train, test, detections = check([40, 90, 120], model=model)[3:]
    assert train.level == "warning"  # a crop of a quarter: 10, 23 and 30 nuclei
    assert "cuts 2 of 3 images and at least 13 of 63 nuclei: raise rpn.post_nms_train above 30" in train.sentence
    assert "cuts 1 of 3 images and at least 20 of 250" in test.sentence
    assert "rpn.post_nms_test above 120" in test.sentence
    assert "cuts 2 of 3 images and at least 110 of 250 nuclei: raise detection.limit" in detections.sentence


def test_a_limit_equal_to_the_count_cuts_nothing() -> None:
    findings = check([40], model=limited(40, pre_nms_train=10, pre_nms_test=40, post_nms_train=10, post_nms_test=40))
    assert not warnings(findings)
    assert "(detection.limit) cuts no image: 40 nuclei at most" in findings[-1].sentence


def test_candidates_are_named_where_they_limit_as_well() -> None:
    (both,) = warnings(check([40, 120], model=limited(pre_nms_test=100, post_nms_test=100)))
    assert "raise rpn.post_nms_test and rpn.pre_nms_test (candidates on each map) above 120" in both
    (alone,) = warnings(check([40, 120], model=limited(pre_nms_test=100)))
    assert "100 candidates on each map may still cut" in alone
    assert "raise rpn.pre_nms_test above 120" in alone
    (crop,) = warnings(check([40, 120], model=limited(pre_nms_train=29)))
    assert "raise rpn.pre_nms_train above 30" in crop


def test_disk_and_time() -> None:
    size = 141_000_000
    plan = RunPlan(steps=2400, checkpoints=12, checkpoint_bytes=size, last_bytes=2 * size, seconds_per_step=1.5)
    disk, time = check([40], plan=plan)[-2:]
    assert disk.sentence == "12 checkpoints of 141 MB, last.ckpt and previous.ckpt of 282 MB each: 2.3 GB on the disk."
    assert time.sentence == "2,400 steps of 1.5 s: about 1 h 00 min."
    one = check([40], plan=replace(plan, checkpoints=1))[-2]
    assert one.sentence == "1 checkpoint of 141 MB, last.ckpt of 282 MB: 423 MB on the disk."


def test_a_full_disk_warns() -> None:
    plan = RunPlan(steps=10, checkpoints=2, checkpoint_bytes=10**9, last_bytes=10**9, free_bytes=2 * 10**9)
    (warning,) = warnings(check([40], plan=plan))
    assert "2.0 GB are free" in warning
    assert "keep fewer (keep)" in warning


def test_images_without_nuclei() -> None:
    findings = check([0, 30])
    assert findings[1] == Finding("info", "1 image without a nucleus: used as background only.")
    (only,) = check([0, 0])
    assert only.level == "warning"
    assert "check the data's root" in only.sentence
