"""Assign groups to parts so that each part holds its share of several features at once.

An exact answer is a hard problem (number partitioning with several weights); greedy starts from several orders,
improved by moves and swaps until none helps, come within a fraction of a percent where the groups allow it.
"""

import numpy as np

RESTARTS = 32
"""Starts of the search; with few groups, one start may end in a poor local optimum."""

GOOD_ENOUGH = 1e-5
"""The search ends early at this sum of squared deviations: shares are right to about 0.1 %."""

LEAST_GAIN = 1e-12
"""Smaller gains are rounding, and following them might never end."""


def assign(features: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Put every group into one part so that the parts' shares are near the wanted ones.

    Args:
        features: (G, F) float64, the share that group g has of feature f.
        shares: (P,) float64, the share of every feature that each part should get; G >= P.

    Returns:
        (G,) int64, the part of each group. Each part has at least one group.
    """
    present = features[:, features.any(axis=0)]
    generator = np.random.default_rng(0)
    best, best_cost = np.zeros(len(features), dtype=np.int64), np.inf
    for _ in range(RESTARTS):
        order = np.argsort(-present.sum(axis=1) * generator.uniform(0.5, 1.5, len(present)), kind="stable")
        parts = _improve(present, shares, _greedy(present, shares, order))
        cost = float((_sums(present, shares, parts) ** 2).sum())
        if cost < best_cost - LEAST_GAIN:
            best, best_cost = parts, cost
        if best_cost < GOOD_ENOUGH:
            break
    return best


def _sums(features: np.ndarray, shares: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return what each part holds of each feature less what it should hold, (P, F) float64."""
    inside = parts[None, :] == np.arange(len(shares))[:, None]
    return inside.astype(np.float64) @ features - shares[:, None] * (features.sum(axis=0) > 0)


def _greedy(features: np.ndarray, shares: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Put one group after another where it helps most, keeping enough of them back to fill every part."""
    parts = np.full(len(features), -1)
    excess = _sums(features, shares, parts)
    for placed, index in enumerate(order):
        change = ((excess + features[index]) ** 2 - excess**2).sum(axis=1)
        empty = np.bincount(parts[parts >= 0], minlength=len(shares)) == 0
        if len(order) - placed <= empty.sum():
            change = np.where(empty, change, np.inf)
        parts[index] = np.argmin(change)
        excess[parts[index]] += features[index]
    return parts


def _improve(features: np.ndarray, shares: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Move single groups and swap pairs as long as that lowers the cost."""
    parts = parts.copy()
    changed = True
    while changed:
        changed = False
        for index in range(len(parts)):
            excess = _sums(features, shares, parts)
            changed |= _move(features, excess, parts, index) or _swap(features, excess, parts, index)
    return parts


def _move(features: np.ndarray, excess: np.ndarray, parts: np.ndarray, index: int) -> bool:
    """Move one group to the part where it fits best, unless it is the last of its part. Return whether it moved."""
    home, weight = parts[index], features[index]
    if (parts == home).sum() == 1:
        return False
    left = ((excess[home] - weight) ** 2 - excess[home] ** 2).sum()
    change = left + ((excess + weight) ** 2 - excess**2).sum(axis=1)
    change[home] = 0
    parts[index] = np.argmin(change) if change.min() < -LEAST_GAIN else home
    return bool(parts[index] != home)


def _swap(features: np.ndarray, excess: np.ndarray, parts: np.ndarray, index: int) -> bool:
    """Swap one group with the group of another part that fits best. Return whether it did."""
    home = parts[index]
    difference = features - features[index]
    change = ((excess[home] + difference) ** 2 - excess[home] ** 2).sum(axis=1)
    change += ((excess[parts] - difference) ** 2 - excess[parts] ** 2).sum(axis=1)
    change[parts == home] = 0
    other = int(np.argmin(change))
    if change[other] >= -LEAST_GAIN:
        return False
    parts[index], parts[other] = parts[other], home
    return True
