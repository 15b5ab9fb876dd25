"""What chance could have done: the paired bootstrap over images and seeds.

The validation images are a sample of all images that one might have validated on. Drawing as many of them again, with
replacement, shows how a metric would have varied (Efron 1979). Every row of a table is measured on the same draws, so
that what makes an image hard for all rows drops out of their differences: *paired*.

- Images are drawn within each image set (fold) by itself, as many as it has. Folds are averaged and not drawn: they
  are no sample of anything but partition the same images, all of them are there, and drawing folds would count
  the variation between images twice, since drawing their images has it already.
- Where a row has several seeds in an image set, these are drawn with replacement too. Rows with the same seeds share
  the draw (so two steps of one run are never compared across runs); others are drawn by themselves. A row
  with one seed tells nothing of other seeds, and two or three tell little: intervals are too narrow by that much.

Intervals are percentile intervals, widened for few images as in Hesterberg (2015), "What teachers should know about the
bootstrap", The American Statistician 69 (4), section 4.1.2: resamples of n images vary (n - 1) / n as much as samples
do, and their tails are normal where Student's t is due. The best row is chosen on the same images, and rows are many;
the intervals do not account for that, so a row just outside of a tie is no proof.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import ndtr, stdtrit

from nucleiseg.evaluation.leaderboard.candidates import Candidate
from nucleiseg.evaluation.leaderboard.metrics import Metric

CONFIDENCE = 0.95
"""Coverage of the intervals."""

Interval = tuple[float, float]


def resampled_rows(rows: Sequence[Sequence[Candidate]], metric: Metric, resamples: int, seed: int) -> np.ndarray:
    """Measure every row on the same resamples of the images (and of the seeds).

    Args:
        rows: the candidates of each row; every row covers the same image sets.
        metric: what to measure; where it has a ceiling, as its share of the ceiling on the resampled images.
        resamples: number of resamples R.
        seed: seeds the draws.

    Returns:
        (rows, R) float64: mean over the image sets of the mean over their drawn seeds; NaN where it is undefined.
    """
    image_sets = sorted({candidate.image_set for candidate in rows[0]})
    generators = np.random.default_rng(seed).spawn(len(image_sets))
    of_sets = [
        _of_image_set([_of(row, image_set) for row in rows], metric, resamples, generator)
        for image_set, generator in zip(image_sets, generators, strict=True)
    ]
    return np.mean(of_sets, axis=0)


def interval(values: np.ndarray, images: Sequence[int]) -> Interval:
    """Return the widened percentile interval of a resampled value.

    Args:
        values: (R,) resampled values; those that are undefined do not count.
        images: number of images of each image set.

    Returns:
        Its two ends; NaN if an image set has one image, which says nothing of others, or no value is defined.
    """
    defined = values[~np.isnan(values)]
    if min(images) < 2 or not len(defined):
        return np.nan, np.nan
    low, high = np.quantile(defined, (tail := tail_share(images), 1 - tail))
    return float(low), float(high)


def tail_share(images: Sequence[int]) -> float:
    """Return the share of resamples to leave out on each side, at most 0.025 (Hesterberg 2015).

    For one image set of n images: Phi(-sqrt(n / (n - 1)) t), t being the 97.5 % quantile of Student's t with n - 1
    degrees of freedom. Each further image set costs one more degree of freedom, its mean.

    Args:
        images: number of images of each image set, at least 2.
    """
    total = sum(images)
    free = total - len(images)
    return float(ndtr(-np.sqrt(total / free) * stdtrit(free, (1 + CONFIDENCE) / 2)))


def _of(row: Sequence[Candidate], image_set: str) -> list[Candidate]:
    """Return the candidates of a row in one image set, by seed."""
    mine = [candidate for candidate in row if candidate.image_set == image_set]
    return sorted(mine, key=lambda candidate: (candidate.seed, candidate.run))


def _of_image_set(
    rows: Sequence[Sequence[Candidate]], metric: Metric, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Measure every row on resamples of one image set.

    Args:
        rows: the candidates of each row in this image set, by seed.
        metric: what to measure.
        resamples: number of resamples R.
        generator: draws images, then seeds.

    Returns:
        (rows, R) float64.
    """
    drawn = _draws(generator, len(rows[0][0].record.images), resamples)
    distinct, number = np.unique(drawn, axis=0, return_inverse=True)  # 5 images: 126 instead of 2,000
    seeds = _seed_draws(rows, resamples, generator)
    measured = []
    for row in rows:
        of_seeds = []
        for candidate in row:
            place = np.argsort(np.argsort([image.name for image in candidate.record.images], kind="stable"))
            of_seeds.append(metric.measured(candidate.record, distinct[:, place])[number.ravel()])
        shares = seeds[tuple(candidate.seed for candidate in row)] / len(row)
        measured.append(np.einsum("sr,rs->r", np.array(of_seeds), shares))
    return np.array(measured)


def _seed_draws(
    rows: Sequence[Sequence[Candidate]], resamples: int, generator: np.random.Generator
) -> Mapping[tuple[int, ...], np.ndarray]:
    """Draw seeds for each collection of seeds that a row has: (R, seeds) numbers of times."""
    collections = sorted({tuple(candidate.seed for candidate in row) for row in rows})
    return {seeds: _draws(generator, len(seeds), resamples) for seeds in collections}


def _draws(generator: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """Draw `count` things with replacement as many times as there are; return (R, count) how often each came."""
    return generator.multinomial(count, np.full(count, 1 / count), size=resamples)
