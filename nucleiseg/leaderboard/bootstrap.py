"""Intervals of metrics and of their differences: a paired bootstrap over images and seeds.

The validation images are a sample. Resampling them with replacement estimates how a metric varies between samples
(Efron 1979). All rows of a table are measured on the same resamples (*paired*), so that the difficulty of an image
cancels in their differences.

- Images are resampled within each image set (fold), as many as it has.
- If a row has several seeds in an image set, these are resampled too; runs that repeat a seed are averaged first and
  count as one. Rows with the same seeds share the resample, so two steps of one run are never compared across runs;
  other rows are resampled independently.
- Folds are averaged and not resampled: together they contain all images, and resampling them would count the variation
  between images twice.

An interval takes the wider of two intervals at each end. The percentile interval follows the shape of the resampled
values, but is limited to their range and far too narrow for few images. So the interval value +- t x standard error is
computed too (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 12), its standard error corrected
because resamples of n images vary (n - 1) / n as much as samples do (Hesterberg 2015, "What teachers should know about
the bootstrap", The American Statistician 69 (4)). Simulated differences of two equal networks excluded 0 in 4 to 6 % of
the trials with 2, 3, 5, 10 or 24 images and with equal folds of 2 or 5, whether the images' differences had a normal or
a t distribution of 3 degrees of freedom; the percentile interval alone excluded it in 51, 27, 17, 10 and 7 %. Where a
few images differ much more than the others, all to one side (exponential distribution), it was 7 to 12 %.

The intervals do not include:

- Other trainings. One seed shows nothing of other seeds, and few show little: resampling s of them shows (s - 1) / s of
  their variance. Each fold is a training of its own, whose noise only its seeds show: with one seed a fold, 5 folds of
  5 images and as much noise of training as of images in each fold's mean, 15 % of the intervals of equal networks
  excluded 0.
- The selection of the best row on the same images, and of one row among many: a row just outside of a tie proves
  nothing.
- The choice of a score threshold on the same images, which metrics of counts and label maps depend on: it is not
  repeated on each resample.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from nucleiseg.leaderboard.candidates import Candidate
from nucleiseg.leaderboard.metrics import MetricSpec

CONFIDENCE = 0.95
"""Coverage of the intervals."""

Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Resamples:
    """Rows measured on the same resamples.

    Attributes:
        values: (rows, R) float64; NaN where a metric is undefined.
        images: number of images of each image set where the metric is defined.
    """

    values: np.ndarray
    images: tuple[int, ...]


def resampled_rows(rows: Sequence[Sequence[Candidate]], metric: MetricSpec, resamples: int, seed: int) -> Resamples:
    """Measure every row on the same resamples of the images (and of the seeds).

    Args:
        rows: the candidates of each row; every row covers the same image sets.
        metric: what to measure; if it has a ceiling, as its share of the ceiling on the resampled images.
        resamples: number of resamples R.
        seed: of the random numbers.

    Returns:
        The mean over the image sets of the mean over their resampled seeds. An image set where the metric is never
        defined (without truth) is left out, as it is from the rows' values.
    """
    image_sets = sorted({candidate.image_set for candidate in rows[0]})
    generators = np.random.default_rng(seed).spawn(len(image_sets))  # independent streams: folds share no images
    kept, images = [], []
    for image_set, generator in zip(image_sets, generators, strict=True):
        in_set = [
            sorted((it for it in row if it.image_set == image_set), key=lambda it: (it.seed, it.run)) for row in rows
        ]
        values = _resampled_in_image_set(in_set, metric, resamples, generator)
        if not np.isnan(values).all():
            kept.append(values)
            images.append(len(in_set[0][0].record.images))
    return Resamples(np.mean(kept, axis=0) if kept else np.full((len(rows), resamples), np.nan), tuple(images))


def interval(values: np.ndarray, value: float, images: Sequence[int]) -> Interval:
    """Return the 95 % interval of a value: at either end the wider of the percentile and the t interval.

    Args:
        values: (R,) resampled values; undefined ones are ignored.
        value: the value on the images themselves.
        images: number of images of each image set that the value is the mean of.

    Returns:
        Its two ends; NaN without an image set, if one of them has a single image, or if no value is defined.
    """
    defined = values[~np.isnan(values)]
    if min(images, default=0) < 2 or not len(defined):
        return np.nan, np.nan
    reach = t_factor(images) * float(np.std(defined))  # the standard deviation of the resamples is the standard error
    low, high = np.quantile(defined, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return min(float(low), value - reach), max(float(high), value + reach)


def t_factor(images: Sequence[int]) -> float:
    """Return the half-width of the t interval in standard deviations of the resampled values.

    The mean of image sets of n_k images that vary equally has a variance in proportion to sum(1 / n_k); its resamples
    show sum((n_k - 1) / n_k^2) of it. The degrees of freedom are Satterthwaite's (1946, "An approximate distribution of
    estimates of variance components", Biometrics Bulletin 2 (6)): k (n - 1) for k image sets of n images. If the sizes
    differ, the intervals are conservative (sets of 2 and 3 images: 3 % false alarms).

    Args:
        images: number of images of each image set, at least 2.
    """
    sizes = np.array(images, dtype=np.float64)
    variance = np.sum(1 / sizes)
    shown = np.sum((sizes - 1) / sizes**2)
    free = variance**2 / np.sum(1 / (sizes**2 * (sizes - 1)))
    return float(stdtrit(free, (1 + CONFIDENCE) / 2) * np.sqrt(variance / shown))


def _resampled_in_image_set(
    rows: Sequence[Sequence[Candidate]], metric: MetricSpec, resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Measure every row on resamples of one image set.

    Args:
        rows: the candidates of each row in this image set, by seed.
        metric: what to measure.
        resamples: number of resamples R.
        generator: resamples images, then seeds.

    Returns:
        (rows, R) float64.
    """
    counts = _resample(generator, len(rows[0][0].record.images), resamples)
    distinct, number = np.unique(counts, axis=0, return_inverse=True)  # 5 images: 126 instead of 2,000
    # rows with the same seeds share their resample
    seed_counts = {
        seeds: _resample(generator, len(seeds), resamples) for seeds in sorted({_seeds(row) for row in rows})
    }
    measured = []
    for row in rows:
        of_runs = []
        for candidate in row:
            # counts refer to images in the order of their names: argsort of argsort is each image's rank in it
            place = np.argsort(np.argsort([image.name for image in candidate.record.images], kind="stable"))
            of_runs.append(metric.measured(candidate.record, distinct[:, place])[number.ravel()])
        # (R, candidates) weights of the mean over resampled seeds; runs that repeat a seed share its weight
        seeds = _seeds(row)
        own = np.array([candidate.seed for candidate in row])[:, None] == np.array(seeds)
        weights = seed_counts[seeds] @ (own / own.sum(axis=0)).T / len(seeds)
        measured.append(np.einsum("cr,rc->r", np.array(of_runs), weights))
    return np.array(measured)


def _seeds(row: Sequence[Candidate]) -> tuple[int, ...]:
    """Return the distinct seeds of candidates, ascending."""
    return tuple(sorted({candidate.seed for candidate in row}))


def _resample(generator: np.random.Generator, count: int, resamples: int) -> np.ndarray:
    """Sample `count` of `count` items with replacement R times; return (R, count) how often each was sampled."""
    return generator.multinomial(count, np.full(count, 1 / count), size=resamples)
