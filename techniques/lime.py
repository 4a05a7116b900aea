"""Which segments of the picture speak for a class near this picture, in the eyes of a simple model that imitates the network
there: red segments raise the score when they are seen, blue ones lower it.

Local interpretable model-agnostic explanations: Ribeiro, Singh and Guestrin 2016, arXiv:1602.04938, sections 3.3 and 3.4. Pictures
with segments hidden at random, the network's answers, and a linear model fitted to them (equation 2), in which pictures near the
original count more: exp(-D * D / width^2). Lasso is the paper's K-Lasso: the segments that come first on the lasso's path, then
least squares over these alone. Departures, the first three as in the authors' code for pictures: each segment is hidden with
probability 1/2 (the paper draws how many first; repeats then agree less); D is the cosine distance between the rows of kept
segments (the paper: L2), a width of 0.35 being their 0.25 times the root of 2; ridge regression with penalty 1 is the default.
What is hidden takes a chosen filling; the logit is fitted beside the probability; and everything is repeated.

Closed forms in numpy: captum's and scikit-learn's give the same numbers, which tests compare.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import numpy as np

from techniques.base import Heatmap, Help, LoadedModel, Note, Picture, Predictions, Range, Run, Sample, Seed, Table, TargetClass, technique, torch
from techniques.base.covering import Fill
from techniques.base.segment_fits import Explained, Repeats, Samples, check_alone, panels, stability
from techniques.base.segments import Count, Cut, Shown

PENALTY = 1.0  # of ridge regression, on the sum of squared weights, as in the authors' code
PATH = 0.95  # each step along the lasso's path has a penalty smaller by this factor
SWEEPS = 50  # at most so many rounds over all segments per step

Fit = Annotated[
    Literal["ridge", "lasso", "least squares"],
    Help("ridge keeps all weights small; lasso picks as many segments as are shown and gives all others none; least squares does neither."),
]


class Answer(NamedTuple):
    probability: Heatmap
    logit: Heatmap
    spread: Heatmap
    segments: Picture
    strongest_alone: Picture | None
    predictions: Predictions
    table: Table
    note: Note


@technique(
    title="LIME",
    family="Covering",
    paper="arXiv:1602.04938",
    order=33,
    limits="It explains a linear imitation, not the network: look at how well it fits, and at the spread over repeats. Other segments, another "
    "fill or another width of the neighbourhood tell another story, and what two segments do only together is lost.",
)
def lime(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    cut: Cut = "slic",
    segments: Count = 30,
    samples: Samples = 300,
    repeats: Repeats = 3,
    fit: Fit = "ridge",
    width: Annotated[float, Range(0.1, 2, 0.05, "cosine distance"), Help("How near to the picture others must be to count.")] = 0.35,
    shown: Shown = 5,
    fill: Fill = "grey",
    seed: Seed = 0,
) -> Answer:
    """Two signed maps `[H, W]`, the weight of each pixel's segment in the linear model of the target's probability and of its
    logit, mean over the repeats; their spread; the segments; and those that speak most for the class, alone."""
    with torch.no_grad():
        explained = Explained.of(sample, model, run, target, cut, segments, fill)
        random = np.random.default_rng(seed)
        kept = np.stack([neighbours(random, samples, len(explained.varied)) for _ in range(repeats)], 1)  # [samples, repeats, V]

        def answer(readings: np.ndarray) -> Answer:
            """From the readings `[n, 2]` of the pictures so far, the repeats in turn."""
            done = len(readings) // repeats
            asked = readings[: done * repeats].reshape(done, repeats, 2)
            fitted = [_fitted(kept[:done, one], asked[:, one], fit, width, shown) for one in range(repeats)]
            weights = np.stack([weights for weights, _ in fitted])
            common = panels(explained, weights, shown, "What a segment that is seen adds to")
            quality = float(np.mean([share[0] for _, share in fitted]))
            imitation = f"The linear model explains {100 * quality:.0f} % of how the probability varies near the picture."
            return Answer(*common, Note(" ".join([imitation, stability(weights, shown), check_alone(explained, common)])))

        rows = kept.reshape(samples * repeats, -1)
        return answer(explained.ask(run, rows, lambda readings: run.show(lambda: answer(readings))))


def neighbours(random: np.random.Generator, samples: int, count: int) -> np.ndarray:
    """Which segments are kept, bool `[samples, count]`: all in the first row, else each with probability 1/2."""
    kept = random.random((samples, count)) < 0.5
    kept[0] = True
    return kept


def nearness(kept: np.ndarray, width: float) -> np.ndarray:
    """Weight `[N]` of each picture: exp(-D * D / width^2), D the cosine distance between its row of `kept` `[N, S]` and a row of ones."""
    distance = 1 - np.sqrt(kept.mean(1))
    return np.exp(-((distance / width) ** 2))


def _fitted(kept: np.ndarray, readings: np.ndarray, fit: str, width: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[S, 2]` of the segments for both readings `[N, 2]`, and the share of the readings' variance that they explain `[2]`."""
    near = nearness(kept, width)
    centred, answers = (values - np.average(values, 0, near) for values in (kept.astype(np.float64), readings))  # leaves the constant out
    x, y = (values * np.sqrt(near)[:, None] for values in (centred, answers))
    if fit == "ridge":
        weights = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ y)
    elif fit == "least squares":
        weights = np.linalg.lstsq(x, y, rcond=None)[0]
    else:
        weights = np.stack([k_lasso(x, y[:, reading], count) for reading in range(y.shape[1])], 1)
    left, all_of_it = ((values**2).sum(0) for values in (y - x @ weights, y))
    return weights, 1 - left / np.where(all_of_it > 0, all_of_it, 1)


def k_lasso(x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """Least squares `[S]` over the first `count` columns of `x` `[N, S]` that enter the lasso's path to `y` `[N]`; zero for all others.

    The path is followed by coordinate descent, from the penalty that lets nothing in downwards.
    """
    products, target = x.T @ x, x.T @ y
    weights, penalty = np.zeros(len(target)), np.abs(target).max()
    smallest = 1e-4 * penalty
    while np.count_nonzero(weights) < min(count, len(weights)) and penalty > smallest:
        penalty *= PATH
        for _ in range(SWEEPS):
            before = weights.copy()
            for one in np.flatnonzero(products.diagonal() > 0):
                pull = target[one] - products[one] @ weights + products[one, one] * weights[one]
                weights[one] = np.sign(pull) * max(0.0, abs(pull) - penalty) / products[one, one]
            if np.abs(weights - before).max() <= 1e-6 * np.abs(weights).max():
                break
    chosen = np.argsort(-np.abs(weights), kind="stable")[:count]
    chosen = chosen[weights[chosen] != 0]
    weights = np.zeros(len(target))
    weights[chosen] = np.linalg.lstsq(x[:, chosen], y, rcond=None)[0]
    return weights
