"""Compare nuclei that were edited by hand with those that were predicted.

For example:

    before, after = read_objects(predicted, shape), read_objects(edited, shape)
    count_corrections(reviewed_corrections(before, after, shape))     # Counter({"accepted": 310, "deleted": 4, ...})
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from nucleiseg.data.readers.corrections import is_mostly_in, is_region, reviewed_plane
from nucleiseg.data.readers.geojson import QuPathObject, is_ignore_class
from nucleiseg.rle import RLE, compress, run_lengths

Outcome = Literal["accepted", "redrawn", "reclassified", "deleted", "added"]
OUTCOMES: tuple[Outcome, ...] = ("accepted", "redrawn", "reclassified", "deleted", "added")

SAME_NUCLEUS = 0.5
"""IoU above which an object whose id was lost is the predicted nucleus at its place."""


class Correction(NamedTuple):
    """The outcome of a predicted nucleus, or a nucleus that was added.

    Attributes:
        outcome: accepted: the same pixels and class; redrawn: other pixels; reclassified: the same pixels, another
            class; deleted; added.
        before: as predicted; None if it was added.
        after: as edited; None if it was deleted.
    """

    outcome: Outcome
    before: QuPathObject | None
    after: QuPathObject | None


def find_corrections(
    predicted: Sequence[QuPathObject], edited: Sequence[QuPathObject], shape: tuple[int, int]
) -> list[Correction]:
    """Pair predicted and edited objects by id, those that remain by overlap, and name the outcome of each.

    Converting a detection into an annotation may give it a new id. So objects without a partner are paired one to one,
    the highest IoU first, above `SAME_NUCLEUS`.

    Args:
        predicted: the objects as the prediction wrote them.
        edited: the objects as they were exported after editing.
        shape: (H, W) of their image.

    Returns:
        The corrections of the predicted objects in their order, then the added objects.
    """
    by_id = {item.id: item for item in reversed(edited) if item.id}
    partners = {place: by_id.pop(item.id) for place, item in enumerate(predicted) if item.id in by_id}
    used = {id(item) for item in partners.values()}
    left = [place for place in range(len(predicted)) if place not in partners]
    free = [item for item in edited if id(item) not in used]
    if left and free:
        overlaps = coco_mask.iou(
            _rles([predicted[place] for place in left], shape), _rles(free, shape), [0] * len(free)
        )
        for flat in np.argsort(-overlaps, axis=None, kind="stable"):
            row, column = divmod(int(flat), len(free))
            if overlaps[row, column] <= SAME_NUCLEUS:
                break
            if left[row] not in partners and id(free[column]) not in used:
                partners[left[row]] = free[column]
                used.add(id(free[column]))
    corrections = [_correction(item, partners.get(place)) for place, item in enumerate(predicted)]
    return corrections + [Correction("added", None, item) for item in edited if id(item) not in used]


def reviewed_corrections(
    predicted: Sequence[QuPathObject], edited: Sequence[QuPathObject], shape: tuple[int, int]
) -> list[Correction]:
    """Return the corrections of nuclei in reviewed regions, or of all where the edited file has no such region.

    Arguments as in `find_corrections`. Reviewed regions (`readers.corrections.is_region`) and ignore regions among the
    objects are not nuclei.
    """
    plane = reviewed_plane(edited, shape)
    before, after = (
        [item for item in objects if not is_region(item.name, item.title) and not is_ignore_class(item.name)]
        for objects in (predicted, edited)
    )
    found = find_corrections(before, after, shape)
    if plane is None:
        return found
    return [item for item in found if is_mostly_in(_shown(item).crop, plane)]


def _shown(correction: Correction) -> QuPathObject:
    """Return the nucleus as edited, or as predicted where it was deleted."""
    shown = correction.after or correction.before
    assert shown is not None
    return shown


def count_corrections(corrections: Iterable[Correction]) -> Counter[str]:
    """Return outcome -> number of nuclei."""
    return Counter(correction.outcome for correction in corrections)


def _correction(before: QuPathObject, after: QuPathObject | None) -> Correction:
    if after is None:
        return Correction("deleted", before, None)
    one, other = before.crop, after.crop
    if (one.row, one.column) != (other.row, other.column) or not np.array_equal(one.mask, other.mask):
        return Correction("redrawn", before, after)
    return Correction("accepted" if before.name == after.name else "reclassified", before, after)


def _rles(objects: Sequence[QuPathObject], shape: tuple[int, int]) -> list[RLE]:
    return compress([run_lengths(item.crop, *shape) for item in objects], *shape)
