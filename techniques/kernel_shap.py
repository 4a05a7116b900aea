"""How the score of the class is shared out fairly among the segments of the picture: each gets what it adds on average over all
orders in which the segments could be uncovered, and all shares together are the score of the picture less that of the filling.

Kernel SHAP: Lundberg and Lee 2017, arXiv:1705.07874, section 4.1, theorem 2: Shapley values are the weights of a linear model
fitted to the network's answers for pictures with segments hidden, weighted by the Shapley kernel, and held to add up. With few
segments every choice of them is tried, and the values are exact. One that looks like the filling has none and is left out.
Departures where all choices are too many: the sizes of which all can be tried are tried whole, as in the authors' code; the others
are drawn in pairs, a choice and its opposite (Covert and Lee 2021, arXiv:2012.01536). What is hidden takes a chosen filling; the
logit is shared out beside the probability; and all that is drawn is repeated.

Written here: captum's draws single choices with replacement, and its values add up only nearly, as it weights the two ends by 10^6.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import NamedTuple

import numpy as np

from techniques.base import Heatmap, LoadedModel, Note, Picture, Predictions, Run, Sample, Seed, Table, TargetClass, technique, torch
from techniques.base.covering import Fill
from techniques.base.segment_fits import READINGS, Explained, Repeats, Samples, check_alone, panels, stability
from techniques.base.segments import Count, Cut, Shown


class Answer(NamedTuple):
    probability: Heatmap
    logit: Heatmap
    spread: Heatmap | None
    segments: Picture
    strongest_alone: Picture | None
    predictions: Predictions
    table: Table
    completeness: Table
    note: Note


@technique(
    title="Kernel SHAP",
    family="Covering",
    paper="arXiv:1705.07874",
    order=34,
    limits="Its shares are fair among pictures that are mostly filling, which the network has never seen: another fill gives other shares. With "
    "many segments they are estimates, so look at the spread. What segments do only together is split evenly between them.",
)
def kernel_shap(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    cut: Cut = "slic",
    segments: Count = 30,
    samples: Samples = 300,
    repeats: Repeats = 3,
    shown: Shown = 5,
    fill: Fill = "grey",
    seed: Seed = 0,
) -> Answer:
    """Two signed maps `[H, W]`, the Shapley value of each pixel's segment for the target's probability and for its logit, mean over
    the repeats; their spread, or None where they are exact; the segments; those that speak most for the class, alone; the sums."""
    with torch.no_grad():
        explained = Explained.of(sample, model, run, target, cut, segments, fill)
        plan = Plan.of(np.random.default_rng(seed), len(explained.varied), samples, repeats)
        change = explained.whole - explained.empty

        def answer(readings: np.ndarray) -> Answer:
            fits = plan.fitted(readings - explained.empty, change)
            common = panels(explained, fits, shown, "What a segment adds on average to")
            complete = _completeness(explained, fits)
            exact = f"All {len(plan.whole) + 2:,} choices of segments were tried: the values are exact, and repeats would give the same."
            sure = exact if plan.exact else stability(fits, shown)
            return Answer(*common, complete, Note(" ".join([complete.caption, sure, check_alone(explained, common)])))

        def see(readings: np.ndarray) -> None:
            if len(readings) >= plan.enough:
                run.show(lambda: answer(readings))

        return answer(explained.ask(run, plan.rows, see))


class Plan(NamedTuple):
    """Which choices of segments are tried: `whole` `[A, S]` once for all repeats, with `weights` `[A]`; then `drawn` `[D, R, S]`, which
    share the weight `rest` evenly. Where nothing is drawn, the values are exact."""

    whole: np.ndarray
    weights: np.ndarray
    drawn: np.ndarray
    rest: float

    @classmethod
    def of(cls, random: np.random.Generator, count: int, samples: int, repeats: int) -> Plan:
        """`samples` choices of `count` segments in each repeat, or all there are if `samples` * `repeats` suffice for these."""
        sizes = np.arange(1, count)
        shares = 1 / (sizes * (count - sizes))  # the kernel of theorem 2, times the number of choices of that size
        shares = shares / shares.sum()
        exact = 2**count - 2 <= samples * repeats
        whole, weights, left, first = [], [], samples, 1
        while first <= count - first:
            pair = {first, count - first}
            number, share = len(pair) * math.comb(count, first), shares[[size - 1 for size in pair]].sum()
            if not exact and (number > left or number > 2 * left * share / shares[first - 1 : count - first].sum()):
                break
            for size in sorted(pair):
                whole.append(_all_of_size(count, size))
                weights.append(np.full(len(whole[-1]), shares[size - 1] / len(whole[-1])))
            left, first = left - number, first + 1
        rest = shares[first - 1 : count - first]
        drawn = np.stack([_pairs(random, count, first, rest, left) for _ in range(0 if exact else repeats)] or [np.zeros((0, count), bool)], 1)
        empty = np.zeros((0, count), bool)
        return cls(np.concatenate([empty, *whole]), np.concatenate([[], *weights]), drawn, float(rest.sum()))

    @property
    def exact(self) -> bool:
        return len(self.drawn) == 0

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate([self.whole, self.drawn.reshape(-1, self.whole.shape[1])])

    @property
    def enough(self) -> int:
        """After so many rows a first fit says something: each segment was kept alone, or some choices were drawn."""
        return min(2 * self.whole.shape[1], len(self.whole)) if self.exact else len(self.whole) + 2 * self.drawn.shape[1]

    def fitted(self, readings: np.ndarray, change: np.ndarray) -> np.ndarray:
        """Values `[R, S, 2]` from the readings above those of the filling for the first rows `[n, 2]`; each repeat adds up to `change` `[2]`.

        R is 1 where the values are exact.
        """
        whole, repeats = self.whole[: len(readings)], self.drawn.shape[1]
        if self.exact:
            return shapley(whole, self.weights[: len(whole)], readings, change)[None]
        done = (len(readings) - len(whole)) // repeats
        asked = readings[len(whole) : len(whole) + done * repeats].reshape(done, repeats, -1)
        weights = np.concatenate([self.weights, np.full(done, self.rest / done)])
        fits = [
            shapley(np.concatenate([whole, self.drawn[:done, one]]), weights, np.concatenate([readings[: len(whole)], asked[:, one]]), change)
            for one in range(repeats)
        ]
        return np.stack(fits)


def shapley(kept: np.ndarray, weights: np.ndarray, readings: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Weighted least squares of readings `[N, 2]` on choices `kept` `[N, S]`, the values `[S, 2]` held to add up to `change` `[2]`.

    The values are their mean, change / S, and a remainder that adds up to zero; with few rows, the smallest that fits.
    """
    count, root = kept.shape[1], np.sqrt(weights)[:, None]
    share = kept.mean(1, keepdims=True)
    return change / count + np.linalg.lstsq(root * (kept - share), root * (readings - share * change), rcond=None)[0]


def _all_of_size(count: int, size: int) -> np.ndarray:
    """All choices of `size` among `count` segments, bool `[number, count]`."""
    chosen = np.array(list(combinations(range(count), size)))
    kept = np.zeros((len(chosen), count), bool)
    kept[np.arange(len(chosen))[:, None], chosen] = True
    return kept


def _pairs(random: np.random.Generator, count: int, first: int, shares: np.ndarray, number: int) -> np.ndarray:
    """About `number` choices, each followed by its opposite; their sizes from `first` up drawn by `shares`, which ones at random."""
    half = max(1, number // 2)
    sizes = random.choice(np.arange(first, first + len(shares)), half, p=shares / shares.sum())
    kept = random.random((half, count)).argsort(1).argsort(1) < sizes[:, None]
    return np.stack([kept, ~kept], 1).reshape(-1, count)


def _completeness(explained: Explained, fits: np.ndarray) -> Table:
    """That the values add up, for both readings."""
    sums = fits.mean(0).sum(0)
    rows = [
        (unit, *map(float, (whole, empty, whole - empty, total, total - (whole - empty))))
        for unit, whole, empty, total in zip(READINGS, explained.whole, explained.empty, sums)
    ]
    parts = f"the probability of “{explained.label}” ({explained.whole[0]:.3f}) less that of the filling ({explained.empty[0]:.3f})"
    told = f"The values add up to {sums[0]:.3f}, {parts}."
    return Table(("reading", "picture", "filling", "difference", "sum of values", "remainder"), tuple(rows), caption=told)
