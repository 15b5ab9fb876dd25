"""Definitions of the metrics in `Report.to_dict`, as the JSON file contains them."""

from collections.abc import Mapping

_AP = (
    "COCO average precision of masks, all images together: precision interpolated at 101 recalls, averaged over the "
    "classes that have a truth; results of every score take part; 0 where there is truth and no result, null where "
    "there is no truth"
)
_EMPTY = "1 where truth and prediction are both empty, 0 where one of them is"
_POOLED = f"numerator and denominator are added over all images (their mean: mean_over_images); {_EMPTY}"

DEFINITIONS: Mapping[str, str] = {
    "ap": f"{_AP}. Mean over IoU thresholds 0.50, 0.55 .. 0.95, all detections.",
    "ap50": f"{_AP}. IoU threshold 0.50, all detections.",
    "ap75": f"{_AP}. IoU threshold 0.75, all detections.",
    "ap_100": "As ap, but only the 100 most confident detections of each image and class count (COCO's maxDets).",
    "ap50_100": "As ap50, but only the 100 most confident detections of each image and class count.",
    "ap75_100": "As ap75, but only the 100 most confident detections of each image and class count.",
    "ap50_100_ceiling": "The ap50_100 that the truth itself gets on these images: no result can score more.",
    **{
        f"box_{key}": f"As {key}, but with the IoU of boxes instead of masks. A box is the bbox (x, y, width, height) "
        "that a result or COCO annotation gives, else the tight box around its mask."
        for key in ("ap", "ap50", "ap75", "ap_100", "ap50_100", "ap75_100")
    },
    "per_class": "For each class by its name, the numbers of its instances alone: truths, results, count (results with "
    "a score of at least count_threshold), errors of the count, average precision, and the metrics of label maps, in "
    "label maps of that class alone. ap .. box_ap75_100 above are the means of these over the classes that have a "
    "truth; aji .. f1, count_mae and count_bias above ignore classes.",
    "mean_over_classes": "With several classes: the means of the numbers of per_class over the classes that have a "
    "truth (mPQ is pq here).",
    "class_agnostic": "With several classes: average precision of masks with all instances as one class, so that a "
    "nucleus of the wrong class is found; 100 detections are then those of an image.",
    "confusion": "With several classes: how often a truth of a class (row) was matched by a result of a class "
    "(column), in the label maps of all classes at IoU > 0.5. The last row counts results without a truth (spurious), "
    "the last column truths without a result (missed). Every truth, and every result that counts, is counted once.",
    "by_size": "For ranges of size, average precision at all detections as above, with COCO's rule: truths outside the "
    "range are neither found nor missed, results outside it that match nothing do not count. truths, results: how many "
    "are in the range. Size is the number of pixels of the mask in the source image, also for boxes. Ranges for nuclei "
    "by the equivalent diameter (of the disc with as many pixels): diameter_below_16, diameter_16_to_32, "
    "diameter_above_32 pixels. COCO's ranges, bounds included: coco_small up to 32 x 32 pixels (a disc of 36 across), "
    "coco_medium up to 96 x 96, coco_large from there.",
    "aji": "Aggregated Jaccard index (Kumar et al. 2017): each truth takes the prediction of the best IoU, which "
    f"several truths may share; {_POOLED}.",
    "aji_plus": "AJI+ (Graham et al. 2019): as aji, but each prediction serves one truth at most, in the matching with "
    f"the largest sum of IoU; {_POOLED}.",
    "dq": f"Detection quality 2 TP / (2 TP + FP + FN), a match being a pair with IoU > 0.5; {_POOLED}.",
    "sq": f"Segmentation quality: mean IoU of the matches of dq in all images; 0 without a match; {_EMPTY}.",
    "pq": "Panoptic quality (Kirillov et al. 2019): dq * sq.",
    "dice": f"Dice coefficient of the foreground, all instances as one; {_POOLED}.",
    "f1": "F1 of instances at IoU 0.5: by definition the same number as dq, under the name that others use.",
    "count_mae": "Mean over images of |number of predictions - number of truths|.",
    "count_bias": "Mean over images of (number of predictions - number of truths): above 0 where too many are found.",
    "crowd_regions": "Regions of the truth whose instances are not annotated one by one (COCO's iscrowd); they are "
    "not among the truths. ap .. box_ap75_100: as in COCO, they are never missed, and results that match no truth but "
    "lie in one of their class (share of the result's pixels, or of its box, at least the IoU threshold) are "
    "neither true nor false. count, count_mae, count_bias and the metrics of label maps (aji .. f1) leave out the "
    "regions, and results with more than half of their pixels in regions of any class, outside of true instances.",
    "count_threshold": "Counts and the metrics of label maps (aji .. f1) use results with a score of at least this.",
    "label_maps": "Overlaps are resolved by painting in ascending score, so that the most confident result is on top; "
    "of equal scores the smaller one. Overlapping truths: the smaller one on top. Instances that are hidden altogether "
    "are in no label map, but they are counted. Classes are ignored, but in per_class and confusion.",
    "mean_over_images": "The metrics of label maps computed for each image alone (per_image), then averaged.",
    "per_image": "truths, results: all instances; count: results with a score of at least count_threshold; "
    "count_error: count - truths; ap, ap50, ap75, box_ap, box_ap50, box_ap75 (all detections) and the metrics of label "
    "maps are of the image alone.",
}
"""Key of `Report.to_dict` -> its definition."""
