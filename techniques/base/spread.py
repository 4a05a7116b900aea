"""How far an estimate can be trusted when it is repeated with other random numbers."""

from __future__ import annotations

from itertools import combinations

import numpy as np

STABLE = 0.8  # mean rank correlation between repeats from which on their order is called stable


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of values `[N]` from 0, equal values sharing the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count + 1) / 2)[place]


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of two sets of values `[N]`, from -1 to 1; where all values of one are equal, 1 if both are, else 0."""
    first, second = (ranks(values) - (len(values) - 1) / 2 for values in (first, second))
    norms = np.sqrt((first**2).sum() * (second**2).sum())
    if norms == 0:
        return float(first.any() == second.any())
    return float((first * second).sum() / norms)


def agreement(repeats: np.ndarray) -> float:
    """Mean rank correlation over all pairs of repeats `[R, N]`."""
    return float(np.mean([rank_correlation(*pair) for pair in combinations(repeats, 2)]))


def in_every(repeats: np.ndarray, count: int) -> int:
    """How many of the `count` values `[N]` that are largest in size in the first of the repeats `[R, N]` are so in all others, too."""
    largest = [set(np.argsort(-np.abs(values), kind="stable")[:count].tolist()) for values in repeats]
    return len(set.intersection(*largest))


def told(repeats: np.ndarray, count: int, remedy: str) -> str:
    """In plain words, how much repeats `[R, N]` agree on the order of all N segments, and on the `count` strongest."""
    correlation, count = agreement(repeats), min(count, repeats.shape[1])
    common = in_every(repeats, count)
    which = f"{common} of the {count} strongest segments are among the {count} strongest in each" if count > 1 else (
        "the strongest segment is the same in each" if common else "the strongest segment is not the same in each"
    )  # fmt: skip
    words = f"{len(repeats)} repeats with other random numbers have a mean rank correlation of {correlation:.2f}, and {which}."
    if correlation >= STABLE and common > count / 2:
        return words
    return f"{words} The order of the segments is not stable: {remedy}."
