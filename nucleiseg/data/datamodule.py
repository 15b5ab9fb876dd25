"""List, check, split and load the data of a run, for Lightning and for use of its loaders alone.

For example:

    data = NucleiDataModule(FoldersReader(root="data"), Recipe(), Preprocessing(), DataSettings(batch_size=2))
    data.setup()
    images, targets = next(iter(data.train_dataloader()))
"""

import hashlib
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from nucleiseg.data.cache import SampleCache, Summary, load_all
from nucleiseg.data.classes import ClassTable, choose_classes, describe_classes
from nucleiseg.data.dataset import NucleiDataset, PrepareBatch, Transform, collate, init_worker
from nucleiseg.data.readers.base import Reader, Record
from nucleiseg.data.readers.mixed import MixedReader
from nucleiseg.data.sampler import RatioSampler, Repeats, SampleKey, StepSampler, repeat_factors
from nucleiseg.data.settings import DataSettings
from nucleiseg.data.splits import Split, split, warn_of_copies, with_default_group
from nucleiseg.errors import InputError
from nucleiseg.progress import echo
from nucleiseg.structures import NucleusClass, Sample, Target

Batch = tuple[list[Tensor], list[Target]]


class NucleiDataModule(pl.LightningDataModule):
    """Training, validation and prediction data of one run.

    `setup` lists, checks and splits; the attributes below exist from then on. Loaders are a function of the arguments,
    `start_step` and `prepare_batch` alone: number of workers and of processes change no sample.

    Args:
        reader: lists and reads the images.
        train_transform: makes a training input of a sample and a seed.
        val_transform: makes a deterministic input of a whole image; its seed is None.
        settings: how they are split, cached and loaded.
        seed: the run's seed.
        total_steps: optimizer steps of the whole run.
        accumulate: batches (micro-steps) of one optimizer step.

    Attributes:
        start_step: optimizer step to begin at; set it before fitting to resume a run.
        val_images: validate on the first so many validation images alone; None: on all. Set it before fitting.
        prepare_batch: adds to the targets of training batches, in the worker processes; None adds nothing. Set it
            before fitting, as soon as there is the network for which it does so.
        summaries: what the check found, one for each image, with the nuclei and labels of `classes`.
        classes: the classes of the data.
        split: names of both parts.
        train_records, val_records: the same as records.
        fingerprint: 16 hexadecimal digits that change with any image, mask, name, class or the split.
    """

    summaries: list[Summary]
    classes: ClassTable
    split: Split
    train_records: tuple[Record, ...]
    val_records: tuple[Record, ...]
    fingerprint: str

    def __init__(
        self,
        reader: Reader,
        train_transform: Transform,
        val_transform: Transform,
        settings: DataSettings | None = None,
        *,
        seed: int = 0,
        total_steps: int = 2400,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.reader = reader
        self.train_transform = train_transform
        self.val_transform = val_transform
        self.settings = settings or DataSettings()
        self.cache = SampleCache(self.settings.cache_path)
        self.mpp = self.settings.mpp
        self.batch_size = self.settings.batch_size
        self.workers = default_workers() if self.settings.workers is None else self.settings.workers
        self.seed = seed
        self.total_steps = total_steps
        self.accumulate = accumulate
        self.start_step = 0
        self.val_images: int | None = None
        self.prepare_batch: PrepareBatch | None = None
        self._is_set_up = False

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the labels 1, 2, ..."""
        return self.classes.names

    def load(self, record: Record) -> Sample:
        """Return an image with its nuclei, labeled by the classes of the data."""
        return self.classes.apply(self.cache.load(self.reader, record))

    def setup(self, stage: str | None = None) -> None:
        """List the images, check them all, and split them; a second call does nothing.

        Args:
            stage: Lightning's name for what comes next; every stage needs the same.

        Raises:
            InputError: with every problem of the data, or of what is asked of them.
        """
        if self._is_set_up:
            return
        records = self.reader.records()
        found = load_all(self.reader, self.cache, records)
        class_counts: Counter[NucleusClass] = Counter()
        for summary in found:
            class_counts.update(summary.class_counts)
        self.classes = choose_classes(self.settings.classes, class_counts)
        if sentence := describe_classes(self.classes, class_counts):
            echo(sentence)
        self.summaries = [_with_classes(summary, self.classes) for summary in found]
        names = [summary.name for summary in self.summaries]
        counts = [len(summary) for summary in self.summaries]
        contents = {summary.name: summary.content for summary in self.summaries}
        if isinstance(self.reader, MixedReader):
            self.split = self._split_sets(self.reader, records, found)
        else:
            settings = with_default_group(self.settings, self.reader.default_group)
            self.split = split(names, counts, settings, list(contents.values()))
        warn_of_copies(self.split, contents)
        by_name = {record.name: record for record in records}
        self.train_records = tuple(by_name[name] for name in self.split.train)
        self.val_records = tuple(by_name[name] for name in self.split.val)
        self.fingerprint = fingerprint(self.summaries, self.split, self.class_names)
        self._is_set_up = True

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Target]]:
        """Return batches from `start_step` on; its length is that of the whole run, in micro-steps."""
        sampler = self.sampler(self.total_steps * self.accumulate, self.start_step * self.accumulate)
        batches = partial(collate, prepare=self.prepare_batch)
        return self._loader(
            self.train_records, self.train_transform, self.workers, batch_sampler=sampler, collate_fn=batches
        )

    def sampler(self, total: int, start: int = 0) -> StepSampler:
        """Return the batches of this process.

        Args:
            total: micro-steps of the whole run.
            start: micro-step to begin at.
        """
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        if not isinstance(self.reader, MixedReader):
            count, repeats = len(self.train_records), self._repeats()
            return StepSampler(count, self.batch_size, total, self.seed, start, rank, ranks, repeats)
        numbers = np.array([self.reader.set_number(record) for record in self.train_records])
        present = np.unique(numbers)  # a set may be held out whole
        members = [np.flatnonzero(numbers == number) for number in present]
        ratios = [self.reader.ratio_of[number] for number in present]
        return RatioSampler(members, ratios, self.batch_size, total, self.seed, start, rank, ranks)

    def _split_sets(self, reader: MixedReader, records: Sequence[Record], found: Sequence[Summary]) -> Split:
        """Split each of several sets, and refuse sets whose classes differ.

        Args:
            reader: of the sets.
            records: the images of all sets.
            found: a summary of each, with the classes of its annotations.

        Raises:
            InputError: if the classes differ, or a set cannot be split as asked.
        """
        if self.settings.repeat_threshold is not None:
            raise InputError("repeat_threshold is set; it accepts null beside several sets, which ratios balance.")
        of_sets: list[list[Summary]] = [[] for _ in reader.members]
        names: list[set[str]] = [set() for _ in reader.members]
        for record, summary, annotated in zip(records, self.summaries, found, strict=True):
            number = reader.set_number(record)
            of_sets[number].append(summary)
            names[number] |= {item.name for item, count in annotated.class_counts.items() if count}
        if self.settings.classes is None:
            reader.refuse_other_classes(names)
        return reader.split(of_sets, self.settings)

    def _repeats(self) -> Repeats | None:
        """Return how often images with rare classes are in a pass, by their shares of the training images."""
        if self.settings.repeat_threshold is None:
            return None
        labels = {summary.name: summary.labels for summary in self.summaries}
        of_images = [labels[record.name] for record in self.train_records]
        return Repeats(repeat_factors(of_images, self.settings.repeat_threshold), self.seed)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Copy a batch to the device without waiting for it; Lightning would wait, for every tensor of a target."""
        images, targets = batch
        free = device.type == "cuda"  # elsewhere a copy that is not waited for may be read too early
        return (
            [image.to(device, non_blocking=free) for image in images],
            [target.to(device, non_blocking=free) for target in targets],
        )

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Target]]:
        """Return this process's share of the validation images, whole and one at a time."""
        return self._whole_images([self.val_records[index] for index in self.val_indices()])

    def val_indices(self) -> list[int]:
        """Return the indices of the validation images that this process validates, in `val_records`, in their order.

        Images are dealt out in turns. All processes have as many, as collective operations in a network need it: where
        they do not come out even, the first images are validated twice.
        """
        count = len(self.val_records[: self.val_images])
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return [place % count for place in range(rank, -(-count // ranks) * ranks, ranks)]

    def predict_dataloader(self) -> DataLoader[tuple[Tensor, Target]]:
        """Return every image of the data set, whole and one at a time, sorted by name."""
        return self._whole_images(sorted(self.train_records + self.val_records, key=lambda record: record.name))

    def _whole_images(self, records: Sequence[Record]) -> DataLoader[tuple[Tensor, Target]]:
        keys = [SampleKey(index, None) for index in range(len(records))]
        # No workers: they would take longer to start than whole images take to resize.
        return self._loader(records, self.val_transform, workers=0, sampler=keys, batch_size=1, collate_fn=collate)

    def _loader(
        self,
        records: Sequence[Record],
        transform: Transform,
        workers: int,
        **arguments: Any,  # noqa: ANN401
    ) -> DataLoader[tuple[Tensor, Target]]:
        """Make a loader; its own generator keeps it from drawing from torch's global one, which training may use."""
        return _Loader(
            NucleiDataset(self.reader, records, self.cache, transform, self.classes),
            num_workers=workers,
            multiprocessing_context=multiprocessing.get_context("spawn") if workers else None,
            worker_init_fn=init_worker,
            persistent_workers=workers > 0,
            prefetch_factor=4 if workers else None,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),
            **arguments,
        )


class _Loader(DataLoader[tuple[Tensor, Target]]):
    """A loader whose workers leave Ctrl-C, which a terminal sends to all processes, to the process that trains."""

    def __iter__(self) -> Any:  # noqa: ANN401  # torch's iterator, whose class is private
        """Start the workers with SIGINT blocked, which they inherit (POSIX only)."""
        if not hasattr(signal, "pthread_sigmask"):
            return super().__iter__()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().__iter__()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _with_classes(summary: Summary, classes: ClassTable) -> Summary:
    """Return a summary of the nuclei that are trained on and scored, labeled by the classes of the data."""
    labels = classes.relabel(summary.labels, summary.classes)
    kept = labels > 0
    return replace(summary, boxes=summary.boxes[kept], labels=labels[kept], classes=classes.classes)


def default_workers() -> int:
    """Return how many workers pay off: none on a CPU, where a step takes far longer than its sample; else up to 4.

    One core stays free. On a cluster, the cores that count are those the job was given, not all of the computer's.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, max(cores - 1, 0)) if torch.cuda.is_available() else 0


def fingerprint(summaries: Sequence[Summary], parts: Split, class_names: Sequence[str]) -> str:
    """Return 16 hexadecimal digits that name a data set and its split, on any machine."""
    keys = sorted((summary.name, summary.key) for summary in summaries)
    text = json.dumps([keys, parts.train, parts.val, list(class_names)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
