"""Predict the blocks of a plan: each is a file, a pure function of slide, checkpoint and plan.

A block file holds a line of JSON, then arrays in NumPy's format, one after the other:

    {"windows": [[row, column, detections, capped], ...], "pasting": "detectron2"}
    boxes (N, 4) float32 in network pixels of the window, scores (N,) float32, labels (N,) int32,
    masks (N, M, M) float16

Nothing in it depends on time or place, so a block that is computed twice has the same bytes.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from nucleiseg.errors import InputError
from nucleiseg.files import atomic_path
from nucleiseg.inference.predictor import Predictor
from nucleiseg.inference.settings import PredictionSettings
from nucleiseg.inference.tiles import BAND, BATCH_PIXELS, Tile
from nucleiseg.pipelining import run_ahead
from nucleiseg.slides.opening import open_slide
from nucleiseg.slides.plan import SlidePlan, read_plan
from nucleiseg.slides.slide import Slide
from nucleiseg.structures import Pasting, Prediction
from nucleiseg.transforms.geometry import to_tensor
from nucleiseg.writers.origin import file_digest

BLOCKS = "blocks"
"""Folder of the block files in a work folder."""

AHEAD = 2
"""Windows that are read while the network has others, a thread each."""


@dataclass(frozen=True)
class SlideJob:
    """What a process needs to predict blocks: paths that it can open, and a device.

    Attributes:
        slide: the file.
        checkpoint: the file.
        folder: the work folder, with its plan.
        device: as in `PredictionSettings`.
    """

    slide: Path
    checkpoint: Path
    folder: Path
    device: str = "auto"


@dataclass(frozen=True)
class Block:
    """The detections of a block.

    Attributes:
        windows: (W, 4) int: row and column of each window, number of its detections, 1 if it reached their limit.
        boxes: (N, 4) float32 in network pixels of the window, window after window.
        scores: (N,) float32, in descending order within a window.
        labels: (N,) int32.
        masks: (N, M, M) float16 probabilities on a grid over each box.
        pasting: the rule of pasting that the masks were learnt for.
    """

    windows: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    pasting: Pasting

    @classmethod
    def of(cls, found: Sequence[tuple[Tile, Prediction]]) -> Self:
        """Collect the detections of a block's windows, in the windows' order; those outside the core are dropped."""
        parts = [(tile, one[_in_core(tile, one)], one.capped) for tile, one in found]
        return cls(
            windows=np.array([(tile.row, tile.column, len(one), capped) for tile, one, capped in parts], np.int64),
            boxes=torch.cat([one.boxes for _, one, _ in parts]).numpy().astype(np.float32),
            scores=torch.cat([one.scores for _, one, _ in parts]).numpy().astype(np.float32),
            labels=torch.cat([one.labels for _, one, _ in parts]).numpy().astype(np.int32),
            masks=torch.cat([one.masks for _, one, _ in parts]).numpy().astype(np.float16),
            pasting=found[0][1].pasting,
        )

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        head = {"windows": self.windows.tolist(), "pasting": self.pasting}
        with atomic_path(path) as temporary, temporary.open("wb") as handle:
            handle.write(json.dumps(head, separators=(",", ":")).encode() + b"\n")
            for array in (self.boxes, self.scores, self.labels, self.masks):
                np.save(handle, array, allow_pickle=False)

    @classmethod
    def read(cls, path: Path, with_masks: bool = True) -> Self:
        """Read a file.

        Args:
            path: the file.
            with_masks: False leaves them out, (N, 0, 0): they are nearly all of the file.

        Raises:
            InputError: if it is missing or damaged.
        """
        try:
            with path.open("rb") as handle:
                head = json.loads(handle.readline())
                boxes, scores, labels = (np.load(handle, allow_pickle=False) for _ in range(3))
                masks = np.load(handle, allow_pickle=False) if with_masks else np.zeros((len(scores), 0, 0), np.float16)
            windows = np.array(head["windows"], np.int64).reshape(-1, 4)
            if not len(boxes) == len(scores) == len(labels) == len(masks) == windows[:, 2].sum():
                raise ValueError("its arrays differ in length")
        except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}): remove it, and run the same command again.") from error
        return cls(windows, boxes, scores, labels, masks, head["pasting"])


class BlockPredictor:
    """Predict blocks of a slide into its work folder.

    Args:
        slide: an open slide.
        predictor: with the settings of the plan.
        plan: of the slide.
        folder: the work folder.
    """

    def __init__(self, slide: Slide, predictor: Predictor, plan: SlidePlan, folder: Path) -> None:
        self._slide = slide
        self._predictor = predictor
        self._plan = plan
        self._folder = folder
        # a CPU gains nothing from batches, whose activations take memory
        is_cpu = predictor.device.type == "cpu"
        self._batch = 1 if is_cpu else max(BATCH_PIXELS // plan.side**2, 1)

    @classmethod
    def of_job(cls, job: SlideJob) -> Self:
        """Open what a job names.

        Raises:
            InputError: if slide or checkpoint are others than those of the plan.
        """
        plan = read_plan(job.folder)
        wanted = PredictionSettings.from_dict({**plan.prediction, "device": job.device})
        predictor = Predictor.from_checkpoint(job.checkpoint, wanted)
        slide = open_slide(job.slide, predictor.preprocessing.bits)
        for path, digest, planned in (
            (job.slide, slide.digest, plan.slide),
            (job.checkpoint, file_digest(job.checkpoint), plan.checkpoint),
        ):
            if digest != planned:
                raise InputError(f"{path} is not the file that {job.folder} was planned with: give the same one.")
        return cls(slide, predictor, plan, job.folder)

    def compute(self, number: int) -> int:
        """Predict a block unless its file exists; return the number of windows predicted now.

        Raises:
            InputError: if the slide is damaged there, or the network's numbers overflow.
        """
        path = block_path(self._folder, number)
        if path.exists():
            return 0
        tiles = self._plan.blocks[number]
        found = dict(self._predict(sorted(tiles, key=lambda tile: tile.shape)))
        Block.of([(tile, found[tile]) for tile in tiles]).write(path)
        return len(tiles)

    def _predict(self, tiles: Sequence[Tile]) -> Iterator[tuple[Tile, Prediction]]:
        """Yield the detections of windows, those of one shape in batches, while the next are read."""
        with closing(run_ahead(self._read, tiles, threads=AHEAD, ahead=AHEAD * self._batch)) as read:
            for _, group in groupby(tiles, key=lambda tile: tile.shape):
                waiting = list(group)
                for start in range(0, len(waiting), self._batch):
                    batch = waiting[start : start + self._batch]
                    windows = [next(read).result() for _ in batch]
                    yield from zip(batch, self._predictor.detect(windows), strict=True)

    def _read(self, tile: Tile) -> Tensor:
        return to_tensor(self._plan.read(self._slide, tile))


def block_path(folder: Path, number: int) -> Path:
    """Return the file of a block in a work folder."""
    return folder / BLOCKS / f"{number:06d}.block"


def compute_block(job: SlideJob, number: int) -> int:
    """Predict a block in this process, see `BlockPredictor.compute`; slide and network stay open for the next one."""
    with _LOCK:
        return _opened(job).compute(number)


_LOCK = threading.Lock()
"""A worker of Dask may have several threads, and a network takes one image after the other."""


@lru_cache(maxsize=1)
def _opened(job: SlideJob) -> BlockPredictor:
    return BlockPredictor.of_job(job)


def _in_core(tile: Tile, found: Prediction) -> Tensor:
    """Return (N,) bool: detections whose center lies in the window's widened core; no other can be kept.

    A pixel more, since stitching rounds other sums.
    """
    top, left, _, _ = tile.window
    centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 + found.boxes.new_tensor([left, top])
    x1, y1, x2, y2 = tile.core
    reach = BAND + 1
    low, high = centers.new_tensor([x1 - reach, y1 - reach]), centers.new_tensor([x2 + reach, y2 + reach])
    return ((centers >= low) & (centers <= high)).all(dim=1)
