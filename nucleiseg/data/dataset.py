"""Map-style data set for torch's loaders: read an image and transform it with the seed of its key.

What worker processes need is in this file; it imports neither Lightning nor Hydra, so that they start fast.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

import cv2
import torch
from torch import Tensor
from torch.utils.data import Dataset

from nucleiseg.data.cache import SampleCache
from nucleiseg.data.classes import ClassTable
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.sampler import SampleKey
from nucleiseg.structures import Sample, Target

Transform = Callable[[Sample, Any], tuple[Tensor, Target]]
"""From a sample and a seed to an image tensor, (3, h, w) uint8 RGB, and its target.

A random transform takes a whole number as its seed, a deterministic one None: hence `Any`.
"""


PrepareBatch = Callable[[list[Tensor], list[Target]], list[Target]]
"""Adds to the targets of a batch what the network would otherwise compute. It is called in the worker processes, so it
must be picklable; and for a run to be resumed exactly, a function of its arguments alone.
"""


class NucleiDataset(Dataset[tuple[Tensor, Target]]):
    """Images with their nuclei, transformed. It is picklable if its parts are, so spawned workers can have it.

    Args:
        reader: reads the images.
        records: the images.
        cache: keeps them decoded.
        transform: makes a network's input of a sample; it gets the key's seed, and history-free code there makes a
            sample depend on nothing else.
        classes: of the data set; None keeps those of each image as they were read.
    """

    def __init__(
        self,
        reader: Reader,
        records: Sequence[Record],
        cache: SampleCache,
        transform: Transform,
        classes: ClassTable | None = None,
    ) -> None:
        self.reader = reader
        self.records = tuple(records)
        self.cache = cache
        self.transform = transform
        self.classes = classes

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, Target]:
        return self.transform(self.load(key.index), key.seed)

    def load(self, index: int) -> Sample:
        """Return an image with its nuclei, not transformed."""
        sample = self.cache.load(self.reader, self.records[index])
        return sample if self.classes is None else self.classes.apply(sample)


def collate(
    samples: Sequence[tuple[Tensor, Target]], prepare: PrepareBatch | None = None
) -> tuple[list[Tensor], list[Target]]:
    """Make a batch: a list of images, which may differ in size, and a list of their targets, prepared if asked for."""
    images, targets = (list(parts) for parts in zip(*samples, strict=True))
    return images, prepare(images, targets) if prepare else targets


def init_worker(worker: int) -> None:
    """Keep a worker process to one thread, since the workers are the parallelism, and let it end with its parent.

    torch's own watch over the parent begins with the first sample: a parent killed before would leave workers behind.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
