"""How far heat maps agree: by the order in which they put the pixels, since their units differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of the absolute values of two maps, equal ones sharing their mean rank.

    Between two maps without any difference in them it is 1, between such a one and another map 0.
    """
    return spearman(np.abs(first), np.abs(second))


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """The same of the values themselves, in arrays of any one shape: -1 where one order is the reverse of the other."""
    deviations = [rank - rank.mean() for rank in (_ranks(values).ravel() for values in (first, second))]
    sizes = [float(np.linalg.norm(deviation)) for deviation in deviations]
    if not all(sizes):
        return float(not any(sizes))
    return float(np.clip(deviations[0] @ deviations[1] / (sizes[0] * sizes[1]), -1, 1))


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each absolute value in its map, from 1 for the smallest, in the map's shape; equal ones share their mean rank."""
    return _ranks(np.abs(values))


def _ranks(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place].reshape(values.shape)


def mean_rank_correlations(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """How alike N columns of maps are: the mean over the rows of the rank correlation of each two, `[N, N]`, from -1 to 1."""
    columns = range(len(rows[0]))
    return np.array([[np.mean([rank_correlation(maps[a], maps[b]) for maps in rows]) for b in columns] for a in columns])


def disagreement(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Where maps `[H, W]` of one picture put the pixels in another order: the standard deviation over them of the rank as a
    share of the largest, `[H, W]`, from 0 (all agree) to 0.5 (half of them put it first, half of them last)."""
    return np.std([ranks(values) / np.size(values) for values in maps], axis=0).astype(np.float32)
