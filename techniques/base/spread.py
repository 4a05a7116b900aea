"""How far an estimate can be trusted when it is repeated with other random numbers."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from techniques.base.agreement import spearman

STABLE = 0.8  # mean rank correlation between repeats from which on their order is called stable


def agreement(repeats: np.ndarray) -> float:
    """Mean rank correlation over all pairs of repeats `[R, N]`."""
    return float(np.mean([spearman(*pair) for pair in combinations(repeats, 2)]))


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
