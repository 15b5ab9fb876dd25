"""Scale, limits and device of a trained network when it predicts.

For example:

    PredictionSettings(scale=1.0, detections=2000, device="cuda")
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import Field

from nucleiseg.inference.tiles import ALIGNMENT, aligned
from nucleiseg.inference.tta import Side, TTASettings
from nucleiseg.models.precision import Precision
from nucleiseg.settings import AsText, Settings, Share, settings, to_container

LONG = 1333
"""Greatest length of an image's longer side where `short` is given (detectron2's INPUT.MAX_SIZE_TEST)."""

Scale = Annotated[float, Field(gt=0, le=1000)]
"""Network pixels per source pixel, or micrometers per pixel: beyond a factor of 1,000 no image keeps or gets pixels."""

TileSide = Literal["auto"] | Annotated[int, Field(ge=256, le=8192)] | None
"""Side of the tiles in network pixels; None: no tiles."""

Detections = Annotated[int, Field(ge=1, le=100_000)]
"""Detections an image. Each needs a proposal, and 100,000 of them take some gigabytes."""


@settings
class ScoredPredictionSettings(Settings):
    """Settings of a prediction that the commands which score checkpoints accept too.

    Attributes:
        mask_nms: IoU above which the less confident of two masks is dropped, after the NMS of boxes; None compares no
            masks.
        mask_nms_inside: with `mask_nms`, also drop a mask that shares more than this part of the smaller mask with a
            more confident one; None compares by IoU alone.
        tta: test-time augmentation: the views that are predicted and merged (`inference.tta`).
        tile: side in network pixels of the tiles that an image is predicted in (`inference.tiles`), rounded up to a
            multiple of 64; "auto" takes tiles where an image has more than `tiling.LARGEST_WHOLE` network pixels; None
            predicts each image whole.
        precision: of the network's convolutions and matrix products; `32` is exact float32 everywhere, the others are
            faster: see `models.precision`.

    Raises:
        InputError: if a value is out of its range, or `mask_nms_inside` is given without `mask_nms`.
    """

    mask_nms: Share | None = None
    mask_nms_inside: Share | None = None
    tta: TTASettings = TTASettings()
    tile: TileSide = "auto"
    precision: Annotated[Precision, AsText] = "32"

    def contradictions(self, at: str) -> Iterable[str]:
        """Refuse a part of mask NMS without the rest."""
        if self.mask_nms_inside is not None and self.mask_nms is None:
            yield f"{at}mask_nms_inside has no effect without {at}mask_nms: give both, or leave it out."

    def scored_settings(self) -> dict[str, Any]:
        """Return these settings by name, as built-in types: without those that a subclass adds."""
        return {item.name: to_container(getattr(self, item.name)) for item in fields(ScoredPredictionSettings)}


@settings
class PredictionSettings(ScoredPredictionSettings):
    """What can be set when a network predicts; everything has a default.

    Attributes:
        scale: network pixels per source pixel; None scales each image as training would have shown it.
        short: instead of a scale, bring the shorter side to this many pixels (detectron2's rule, see
            `transforms.geometry.resized_shape`).
        long: with `short`, greatest length of the longer side in network pixels.
        mpp: micrometers per pixel of the images, where the checkpoint knows those of its training images: the scale
            follows. None takes what the file states (`data.readers.resolution`), else the training's.
        bits: the camera's bits per pixel in files that have 16; None takes those of the training.
        score_threshold: keep detections with a score above this; None keeps the network's setting.
        nms: IoU above which the less confident of two boxes is dropped; None keeps the network's, or takes 0.7 before
            `mask_nms`.
        tile_overlap: network pixels that neighboring tiles share, rounded up to a multiple of 64; None follows the
            largest nuclei of the training (`tiles.overlap_for`).
        detections: most detections an image, or a tile of it; None keeps the network's. The RPN's limits in prediction
            are raised where they allow fewer proposals.
        device: "auto" takes a CUDA GPU where there is one, else the CPU; or any name that torch knows.

    Raises:
        InputError: if a value is out of its range, or more than one of `scale`, `short`, `mpp` and `tta.shorts` is
            given.
    """

    scale: Scale | None = None
    short: Side | None = None
    long: Side = LONG
    mpp: Scale | None = None
    bits: Literal[8, 10, 12, 14, 16] | None = None
    score_threshold: Share | None = None
    nms: Share | None = None
    tile_overlap: Annotated[int, Field(ge=1, le=4096)] | None = None
    detections: Detections | None = None
    device: str = "auto"

    def contradictions(self, at: str) -> Iterable[str]:
        """Refuse two settings that both set the scale, and overlaps that do not fit the tiles."""
        yield from super().contradictions(at)
        given = {name: getattr(self, name) for name in ("scale", "short", "mpp")}
        names = [f"{at}{name} ({value:g})" for name, value in given.items() if value is not None]
        if self.tta.shorts:
            names.append(f"{at}tta.shorts ({', '.join(map(str, self.tta.shorts))})")
        if len(names) > 1:
            yield f"{' and '.join(names)} all set the scale: give one of them."
        if self.tile_overlap is not None and self.tile is None:
            yield f"{at}tile_overlap has no effect without {at}tile: give both, or leave it out."
        if self.tile_overlap is not None and isinstance(self.tile, int):
            most = aligned(self.tile) - ALIGNMENT
            if aligned(self.tile_overlap) > most:
                yield (
                    f"{at}tile_overlap is {self.tile_overlap}; it accepts a whole number up to {most} for tiles of "
                    f"{aligned(self.tile)}, or null: give larger tiles, or a smaller overlap."
                )
