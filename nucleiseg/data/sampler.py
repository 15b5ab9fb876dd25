"""Sample the images of a step and a seed for each: a function of (run seed, step, position) alone.

Neither the number of workers nor the number of processes nor where the run was started changes a batch, so a run that
was killed and resumed sees exactly what it would have seen.

    two processes of batch 2, five images      micro-step      0          1          2
                                               rank 0       3 0        4 | 2      1 0       | a new pass begins:
                                               rank 1       2 1        0 4      | 3 2         a new permutation
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

ORDER, AUGMENTATION, REPEATS, MIXTURE = 0, 1, 2, 3
"""Purpose of a random stream: keeps the order of the images, their augmentation, their repeats and the order of mixed
data sets (4, 5, ...: the order of the images in each) independent."""

UNIT_BITS = 20
"""Repeat factors are whole multiples of 2 ** -20, so that the counts of passes are exact."""


@dataclass(frozen=True)
class SampleKey:
    """Key of one training sample.

    Attributes:
        index: number of the image among the records.
        seed: seeds its augmentation and the network's random numbers for it; None: the deterministic transform.
    """

    index: int
    seed: int | None


class StepSampler(Sampler[list[SampleKey]]):
    """Batches for a number of steps rather than epochs.

    Position p of the endless stream of images is image p mod N of a random permutation for pass p // N: each pass takes
    every image once, across the borders of batches. The global batch of micro-step k is the positions
    from k * B, B = batch_size * world_size; rank r takes its r-th piece. With repeats, a pass has as many places as
    `Repeats` counts.

    Args:
        length: number of images N.
        batch_size: images in the batch of one process.
        total: micro-steps (batches of one process) of the whole run.
        seed: the run's seed.
        start: micro-step to begin at (where a run was stopped).
        rank: number of this process.
        world_size: number of processes.
        repeats: how often each image is in a pass; None: once.

    Examples:
        >>> whole = [[key.index for key in batch] for batch in StepSampler(5, batch_size=2, total=5, seed=0)]
        >>> sorted(sum(whole[:5], [])) == sorted(2 * [0, 1, 2, 3, 4])  # ten positions: two passes over five images
        True
        >>> resumed = StepSampler(5, batch_size=2, total=5, seed=0, start=3)
        >>> [[key.index for key in batch] for batch in resumed] == whole[3:]
        True
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        total: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeats: "Repeats | None" = None,
    ) -> None:
        if length < 1 or batch_size < 1 or not 0 <= start <= total or not 0 <= rank < world_size:
            raise ValueError(f"{length=}, {batch_size=}, {start=} of {total=}, {rank=} of {world_size=}")
        self.length = length
        self.batch_size = batch_size
        self.total = total
        self.seed = seed
        self.start = start
        self.rank = rank
        self.world_size = world_size
        self.repeats = repeats

    def __len__(self) -> int:
        """Return the micro-steps of the whole run, also when it starts in the middle: loops count from its first."""
        return self.total

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for step in range(self.start, self.total):
            yield self.batch(step)

    def batch(self, step: int) -> list[SampleKey]:
        """Return this process's batch of one micro-step."""
        first = self.rank * self.batch_size
        return [self._key(step, position) for position in range(first, first + self.batch_size)]

    def _key(self, step: int, position: int) -> SampleKey:
        place = step * self.batch_size * self.world_size + position
        if self.repeats is None:
            index = int(permutation(self.seed, place // self.length, self.length)[place % self.length])
        else:
            epoch, within = self.repeats.locate(place)
            images = self.repeats.images(epoch)
            index = int(images[permutation(self.seed, epoch, len(images))[within]])
        return SampleKey(index, sample_seed(self.seed, step, position))


class RatioSampler(StepSampler):
    """Batches of several data sets, whose images are sampled by ratios.

    The endless stream of images is cut into blocks of sum(ratios) places, of which each set has its ratio, in random
    order:

        ratios 2, 1      a a b | b a a | a b a | ...

    The n-th place of a set takes image n mod N of a random permutation for its pass n // N. So any place is found
    without counting those before, and after each block the ratios are exact.

    Args:
        members: the numbers of each set's images among the records; at least one each.
        ratios: places of each set in a block.
        batch_size: as in `StepSampler`, and the rest.
        total: as above.
        seed: as above.
        start: as above.
        rank: as above.
        world_size: as above.
    """

    def __init__(
        self,
        members: Sequence[np.ndarray],
        ratios: Sequence[int],
        batch_size: int,
        total: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(min(map(len, members)), batch_size, total, seed, start, rank, world_size)
        self.members = members
        self.ratios = ratios
        self._slots = np.repeat(np.arange(len(ratios)), ratios)

    def _key(self, step: int, position: int) -> SampleKey:
        place = step * self.batch_size * self.world_size + position
        block, within = divmod(place, len(self._slots))
        sets = self._slots[permutation(self.seed, block, len(self._slots), MIXTURE)]
        chosen = int(sets[within])
        count = block * self.ratios[chosen] + int(np.count_nonzero(sets[:within] == chosen))
        images = self.members[chosen]
        epoch, image = divmod(count, len(images))
        index = images[permutation(self.seed, epoch, len(images), MIXTURE + 1 + chosen)[image]]
        return SampleKey(int(index), sample_seed(self.seed, step, position))


class Repeats:
    """How often each image is in each pass, so that image i is in r_i passes' worth of places of one pass on average.

    A factor need not be whole. Image i is in the passes before pass e

        c_i(e) = floor(e * r_i + u_i)        r_i = 1.5, u_i = 0.2:    c = 0, 1, 3, 4, 6    so 1, 2, 1, 2 times

    times, with an offset u_i in 0 .. 1 of the run's seed. So its count in e passes is never a whole image away from
    e * r_i, and any pass is found without counting those before. (detectron2's `RepeatFactorTrainingSampler` rounds
    each factor at random in each pass, which has the same mean.)

    Args:
        factors: (N,) repeat factor of each image, at least 1, see `repeat_factors`.
        seed: the run's seed.
    """

    def __init__(self, factors: Sequence[float] | np.ndarray, seed: int) -> None:
        if np.min(factors) < 1:
            raise ValueError(f"a repeat factor is {np.min(factors)}; they are at least 1")
        self._factors = np.rint(np.asarray(factors, np.float64) * 2**UNIT_BITS).astype(np.int64)
        raw = np.random.PCG64(np.random.SeedSequence([REPEATS, seed])).random_raw(len(self._factors))
        self._offsets = (raw >> np.uint64(64 - UNIT_BITS)).astype(np.int64)

    def images(self, epoch: int) -> np.ndarray:
        """Return the images of one pass in ascending order, (places,) int64."""
        return np.repeat(np.arange(len(self._factors)), self._before(epoch + 1) - self._before(epoch))

    def locate(self, place: int) -> tuple[int, int]:
        """Return the pass of a place in the endless stream, and the place within that pass."""
        low, high = 0, place // len(self._factors) + 1  # a pass has at least one place an image
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._before(middle).sum() <= place else (low, middle)
        return low, place - int(self._before(low).sum())

    def _before(self, epoch: int) -> np.ndarray:
        """Return (N,) int64 how often each image is in the passes before one."""
        counts: np.ndarray = (epoch * self._factors + self._offsets) >> UNIT_BITS
        return counts


def repeat_factors(labels: Sequence[np.ndarray], threshold: float) -> np.ndarray:
    """Return the repeat factor of each image, so that rare classes are seen more often.

    r(I) = max over the classes c in image I of max(1, sqrt(t / f(c))), f(c) being the share of images with class c
    (Gupta, Dollar & Girshick 2019, "LVIS: A dataset for large vocabulary instance segmentation", section 5.2;
    detectron2's `repeat_factors_from_category_frequency`). An image without nuclei has 1.

    Args:
        labels: the (n,) labels of the instances of each image.
        threshold: t, 0 .. 1.

    Returns:
        (N,) float64.

    Examples:
        >>> common, both = np.array([1, 1]), np.array([1, 2, 2])  # class 2 is in one of four images
        >>> repeat_factors([common, common, common, both], threshold=1.0).tolist()
        [1.0, 1.0, 1.0, 2.0]
    """
    present = [np.unique(image) for image in labels]
    images_with = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    of_class = np.maximum(1.0, np.sqrt(threshold * len(labels) / np.maximum(images_with, 1)))
    return np.array([of_class[image].max(initial=1.0) for image in present])


@lru_cache(maxsize=16)
def permutation(seed: int, epoch: int, length: int, purpose: int = ORDER) -> np.ndarray:
    """Return the order of the images in one pass over the data, (length,) int64 (shared: not to be written to).

    Sorting raw bits, because numpy promises the same bits in every version, but not the same `permutation`.
    """
    bits = np.random.PCG64(np.random.SeedSequence([purpose, seed, epoch])).random_raw(length)
    return np.argsort(bits, kind="stable")


def sample_seed(seed: int, step: int, position: int) -> int:
    """Return the 32-bit seed of one sample: numpy's SeedSequence, whose outputs are stable across versions.

    Args:
        seed: the run's seed.
        step: micro-step.
        position: place in the global batch.
    """
    return int(np.random.SeedSequence([AUGMENTATION, seed, step, position]).generate_state(1)[0])
