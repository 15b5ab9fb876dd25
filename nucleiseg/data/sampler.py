"""Sample the images of a step and a seed for each: a function of (run seed, step, position) alone.

Neither the number of workers nor the number of processes nor where the run was started changes a batch, so a run that
was killed and resumed sees exactly what it would have seen.

    two processes of batch 2, five images      micro-step      0          1          2
                                               rank 0       3 0        4 | 2      1 0       | a new pass begins:
                                               rank 1       2 1        0 4      | 3 2         a new permutation
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

ORDER, AUGMENTATION = 0, 1
"""Purpose of a random stream: keeps the order of the images and their augmentation independent."""


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
    from k * B, B = batch_size * world_size; rank r takes its r-th piece.

    Args:
        length: number of images N.
        batch_size: images in the batch of one process.
        total: micro-steps (batches of one process) of the whole run.
        seed: the run's seed.
        start: micro-step to begin at (where a run was stopped).
        rank: number of this process.
        world_size: number of processes.

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
        order = permutation(self.seed, place // self.length, self.length)
        return SampleKey(int(order[place % self.length]), sample_seed(self.seed, step, position))


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    """Return the order of the images in one pass over the data, (length,) int64 (shared: not to be written to).

    Sorting raw bits, because numpy promises the same bits in every version, but not the same `permutation`.
    """
    bits = np.random.PCG64(np.random.SeedSequence([ORDER, seed, epoch])).random_raw(length)
    return np.argsort(bits, kind="stable")


def sample_seed(seed: int, step: int, position: int) -> int:
    """Return the 32-bit seed of one sample: numpy's SeedSequence, whose outputs are stable across versions.

    Args:
        seed: the run's seed.
        step: micro-step.
        position: place in the global batch.
    """
    return int(np.random.SeedSequence([AUGMENTATION, seed, step, position]).generate_state(1)[0])
