"""Compute every metric of a set of images, as one flat, JSON-ready dictionary with definitions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from nucleiseg.evaluation.ap_report import BOARD_LIMIT, APReport, APScores, class_names, report_ap
from nucleiseg.evaluation.class_metrics import LabeledMasks, Pairs, count_pairs, tally_classes, to_matrix
from nucleiseg.evaluation.contingency import contingency_table
from nucleiseg.evaluation.definitions import DEFINITIONS
from nucleiseg.evaluation.engine import APResult, Matching
from nucleiseg.evaluation.instance_metrics import InstanceMetrics, Tally, pool, tally
from nucleiseg.evaluation.instances import Instances
from nucleiseg.evaluation.painting import paint, shares_inside
from nucleiseg.evaluation.truth import ImageId, ImageTruth
from nucleiseg.inference.count_threshold import COUNT_THRESHOLD

MOST_IN_CROWD = 0.5
"""Results with more than this share of their pixels in crowd regions, outside of true instances, are left out of label
maps and counts (Kirillov et al. 2019, section 4.2). None of them matches a truth, which takes an IoU above 0.5."""


@dataclass(frozen=True)
class ImageReport:
    """The numbers of one image.

    Attributes:
        name: the image's name.
        image_id: its id in result files.
        truths: number of true instances.
        results: number of results, of any score.
        count: number of results with a score of at least the threshold for counting, without those that lie mostly in
            a crowd region.
        ap: average precision of this image alone, at all detections.
        tally: sums from which the metrics of label maps are computed.
        truths_of: label -> number of true instances.
        counts_of: label -> number of counted results.
        tallies: label -> the sums of the metrics of label maps of that class alone.
        pairs: how often which classes were matched.
        crowd_regions: number of regions whose instances are not annotated one by one.
    """

    name: str
    image_id: ImageId
    truths: int
    results: int
    count: int
    ap: APScores
    tally: Tally
    truths_of: Mapping[int, int]
    counts_of: Mapping[int, int]
    tallies: Mapping[int, Tally]
    pairs: Pairs
    crowd_regions: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the image's line of `per_image`."""
        return {
            "image": self.name,
            "image_id": self.image_id,
            "truths": self.truths,
            "results": self.results,
            "count": self.count,
            "count_error": self.count - self.truths,
            **self.ap.to_dict(),
            **self.tally.metrics()._asdict(),
        }


@dataclass(frozen=True)
class Report:
    """The numbers of a set of images.

    Attributes:
        count_threshold: least score of a result that counts and is painted.
        ap: average precision by limit, class, size and image.
        images: the images, in the order of the truth.
        names: label -> name of each class, in ascending label.
        agnostic: average precision with all instances as one class, at all detections and at 100; None where there is
            no more than one class.
    """

    count_threshold: float
    ap: APReport
    images: tuple[ImageReport, ...]
    names: Mapping[int, str]
    agnostic: tuple[APResult, APResult] | None = None

    @property
    def pooled(self) -> InstanceMetrics:
        """The metrics of label maps, numerators and denominators added over the images."""
        return pool(image.tally for image in self.images).metrics()

    @property
    def mean(self) -> InstanceMetrics:
        """The metrics of label maps of each image alone, averaged."""
        return InstanceMetrics(*map(fmean, zip(*(image.tally.metrics() for image in self.images), strict=True)))

    def of_class(self, label: int) -> dict[str, Any]:
        """Return the counts and the metrics of label maps of one class, for its line of `per_class`."""
        errors = [image.counts_of.get(label, 0) - image.truths_of.get(label, 0) for image in self.images]
        return {
            "count": sum(image.counts_of.get(label, 0) for image in self.images),
            "count_mae": fmean(map(abs, errors)),
            "count_bias": fmean(errors),
            **pool([Tally(), *(image.tallies[label] for image in self.images if label in image.tallies)])
            .metrics()
            ._asdict(),
        }

    def of_classes(self) -> dict[str, Any]:
        """Return what is reported of several classes beside the numbers of each: means and confusions."""
        if self.agnostic is None:
            return {}
        present = [label for label in self.names if any(image.truths_of.get(label) for image in self.images)]
        rows = [{key: value for key, value in self.of_class(label).items() if key != "count"} for label in present]
        pairs: Pairs = sum((image.pairs for image in self.images), Counter())
        at_all, at_100 = (result._asdict().items() for result in self.agnostic)
        agnostic = dict(at_all) | {f"{key}_100": value for key, value in at_100}
        return {
            "mean_over_classes": {key: fmean(row[key] for row in rows) for key in (rows[0] if rows else {})},
            "class_agnostic": {key: None if math.isnan(value) else value for key, value in agnostic.items()},
            "confusion": to_matrix(pairs, self.names),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as values for a JSON file; undefined ones are None."""
        errors = [image.count - image.truths for image in self.images]
        best = self.ap.ap50_100_ceiling
        return {
            **self.ap.at_all.to_dict(),
            **self.ap.at_100.to_dict("_100"),
            "ap50_100_ceiling": None if math.isnan(best) else best,
            **self.pooled._asdict(),
            "count_mae": fmean(map(abs, errors)),
            "count_bias": fmean(errors),
            "count_threshold": self.count_threshold,
            "images": len(self.images),
            "truths": sum(image.truths for image in self.images),
            "results": sum(image.results for image in self.images),
            "crowd_regions": sum(image.crowd_regions for image in self.images),
            "mean_over_images": self.mean._asdict(),
            "per_class": {
                name: group.to_dict() | self.of_class(label)
                for (label, name), group in zip(self.names.items(), self.ap.per_class.values(), strict=True)
            },
            **self.of_classes(),
            "by_size": {name: group.to_dict() for name, group in self.ap.by_size.items()},
            "per_image": [image.to_dict() for image in self.images],
            "definitions": dict(DEFINITIONS),
        }


def evaluate(
    truths: Sequence[ImageTruth],
    results: Mapping[ImageId, Instances],
    count_threshold: float = COUNT_THRESHOLD,
    categories: Mapping[int, str] | None = None,
) -> Report:
    """Compute every metric of a set of images.

    Args:
        truths: the images with their true instances; at least one.
        results: image id -> detections; an image that is missing has none.
        count_threshold: least score of a result that counts and is painted into label maps; average precision
            takes all.
        categories: label -> name of the class; without it classes are called by their label.

    Raises:
        ValueError: if there is no image.
    """
    if not truths:
        raise ValueError("metrics need at least one image")
    found = [results.get(truth.image_id, Instances()) for truth in truths]
    names = class_names(categories or {}, [*truths, *found])
    ap = report_ap(truths, found, categories or {})
    images = tuple(_image_report(*columns, count_threshold) for columns in zip(truths, found, ap.images, strict=True))
    agnostic = _agnostic_ap(truths, found) if len(names) > 1 else None
    return Report(count_threshold=count_threshold, ap=ap, images=images, names=names, agnostic=agnostic)


def _agnostic_ap(truths: Sequence[Instances], found: Sequence[Instances]) -> tuple[APResult, APResult]:
    """Compute average precision of masks with all instances as one class, at all detections and at 100."""
    one = [
        [
            replace(
                image, labels=[1] * len(image.labels), crowd=tuple(replace(region, label=1) for region in image.crowd)
            )
            for image in images
        ]
        for images in (truths, found)
    ]
    precision = Matching(*one, limits=(None, BOARD_LIMIT)).pooled()
    return precision.result(), precision.result(BOARD_LIMIT)


def _image_report(truth: ImageTruth, results: Instances, ap: APScores, count_threshold: float) -> ImageReport:
    """Paint and compare the label maps of one image."""
    size = truth.height, truth.width
    true = LabeledMasks.of(truth.masks, truth.labels, size)
    shown = [index for index, score in enumerate(results.scores) if score >= count_threshold]
    if truth.crowd:
        crowd = paint([region.mask for region in truth.crowd], truth.height, truth.width)
        share = shares_inside([results.masks[index] for index in shown], (crowd > 0) & (true.label_map == 0))
        shown = [index for index, inside in zip(shown, share.tolist(), strict=True) if inside <= MOST_IN_CROWD]
    masks, labels = [results.masks[index] for index in shown], [results.labels[index] for index in shown]
    counted = LabeledMasks.of(masks, labels, size, [results.scores[index] for index in shown])
    table = contingency_table(true.label_map, counted.label_map)
    return ImageReport(
        name=truth.name,
        image_id=truth.image_id,
        truths=len(truth.masks),
        results=len(results.masks),
        count=len(shown),
        ap=ap,
        tally=tally(table),
        truths_of=Counter(truth.labels),
        counts_of=Counter(labels),
        tallies=tally_classes(true, counted, table),
        pairs=count_pairs(true, counted, table),
        crowd_regions=len(truth.crowd),
    )
