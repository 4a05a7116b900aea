"""Vectors of many numbers as places on a plane, so that what is near stays near: by PCA, t-SNE or UMAP.

All three are written out here for the few thousand vectors that a page can show: every distance is computed, nothing is approximated by
trees, and each step can be shown and stopped. With scikit-learn or umap-learn a visitor would wait without a sign, and numba's compiler
would have to be installed.

t-SNE: van der Maaten and Hinton 2008, JMLR 9, algorithm 1. Departures, as in scikit-learn: it starts at the plane of PCA (Kobak and
Berens 2019, doi:10.1038/s41467-019-13056-x) and its learning rate grows with the number of vectors (Belkina et al. 2019,
doi:10.1038/s41467-019-13055-y), here also below a few hundred, where scikit-learn's smallest rate of 50 throws the points apart. UMAP:
McInnes et al. 2018, arXiv:1802.03426, algorithms 1 to 5. Departures: it starts at the plane of PCA, and the edges of an epoch are taken
in a few random parts, each moved at once, instead of one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from model_zoo.deferred import torch

EARLY, LATE = 250, 500  # steps of t-SNE while the clusters form, with all attraction EXAGGERATION times as strong, and after that
EXAGGERATION = 12.0
SMALLEST_GAIN = 0.01
SMALLEST_RATE = 5.0
HALVINGS = 30  # in the search for the width of a neighbourhood
ROWS = 128  # of the distances between all, so many are worked on at a time
EPOCHS = 400  # of UMAP
PARTS = 12  # of an epoch: a vector is then moved by few of its neighbours at once
NEGATIVE = 5  # vectors that each edge pushes its end away from
CURVE = (1.577, 0.8951)  # a and b of 1 / (1 + a d^2b): the fit of arXiv:1802.03426, definition 11, to a smallest distance of 0.1
LARGEST = 4.0  # of a move, before the rate


def squared_distances(features: torch.Tensor) -> torch.Tensor:
    """Squared Euclidean distances `[N, N]` between the rows of `[N, D]`, in float64; zero on the diagonal."""
    centred = features.double() - features.double().mean(0)
    squares = centred.square().sum(1)
    found = (squares[:, None] + squares - 2 * centred @ centred.T).clamp(min=0)
    return found.fill_diagonal_(0)


def nearest(distances: torch.Tensor, count: int) -> torch.Tensor:
    """For each row of squared distances `[N, N]` the numbers of the nearest others, nearest first, int `[N, k]`; `k` is at most N - 1."""
    others = distances.clone().fill_diagonal_(torch.inf)
    return others.topk(min(count, len(distances) - 1), largest=False).indices


class Plane:
    """The plane in which vectors `[N, D]` spread most: their mean, two directions of length 1 `[D, 2]`, and the `shares` of the variance
    that lie along them. A direction in which they do not differ is zero; its sign is that of its largest number."""

    def __init__(self, features: torch.Tensor):
        features = features.double()
        self.mean = features.mean(0)
        centred = features - self.mean
        wide = centred.shape[1] > centred.shape[0]
        values, vectors = torch.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
        values, vectors = values.clamp(min=0).flip(0), vectors.flip(1)[:, :2]
        directions = centred.T @ vectors if wide else vectors
        kept = values[:2] > 1e-12 * values[0]
        directions = torch.nn.functional.pad(directions, (0, 2 - directions.shape[1]))
        lengths = directions.norm(dim=0)
        kept = torch.nn.functional.pad(kept, (0, 2 - len(kept))) & (lengths > 0)
        largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
        self.directions = directions / lengths.clamp(min=1e-300) * torch.where(largest < 0, -1.0, 1.0) * kept
        self.shares = [float(value) / max(float(values.sum()), 1e-300) for value in values[:2]]

    def places(self, features: torch.Tensor) -> torch.Tensor:
        """Vectors `[M, D]`, also new ones, as places `[M, 2]` on the plane, in the unit of the vectors."""
        return (features.double() - self.mean) @ self.directions


def between_neighbours(features: torch.Tensor, known: torch.Tensor, places: torch.Tensor, count: int = 5) -> torch.Tensor:
    """Where new vectors `[M, D]` stand among `known` ones `[N, D]` that have `places` `[N, 2]`: the mean place of their nearest ones, each with
    the inverse of its squared distance as its weight. A known vector stands at its own place."""
    distances = torch.cdist(features.double(), known.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    near = distances.topk(min(count, len(known)), largest=False)
    weights = 1 / near.values.clamp(min=1e-12 * float(distances.max()) + 1e-300)
    weights = weights / weights.sum(1, keepdim=True)
    return (weights[..., None] * places.double()[near.indices]).sum(1)


def turned(places: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A map `[N, 2]` turned so that it spreads most from left to right, and mirrored so that it resembles another one."""
    centred = places.double() - places.double().mean(0)
    turned = centred @ torch.linalg.eigh(centred.T @ centred)[1].flip(1)
    return turned * torch.where((turned * like).sum(0) < 0, -1.0, 1.0)


def t_sne(distances: torch.Tensor, start: torch.Tensor, perplexity: float) -> Iterator[torch.Tensor]:
    """Places `[N, 2]` after each of EARLY + LATE steps, from squared distances `[N, N]` of at least 4 vectors and places to start from.

    `perplexity` is the effective number of neighbours, at most (N - 1) / 3: the largest that leaves somebody far away.
    """
    wanted = joint_probabilities(distances, min(perplexity, (len(distances) - 1) / 3)).float()
    places = (1e-4 / max(float(start[:, 0].std()), 1e-300) * start).float()
    rate = max(len(wanted) / EXAGGERATION / 4, SMALLEST_RATE)
    velocity, gains = torch.zeros_like(places), torch.ones_like(places)
    for step in range(EARLY + LATE):
        gradient = _gradient(wanted, places, EXAGGERATION if step < EARLY else 1.0)
        turned = gradient * velocity > 0  # the last move went up
        gains = torch.where(turned, gains * 0.8, gains + 0.2).clamp(min=SMALLEST_GAIN)
        velocity = (0.5 if step < EARLY else 0.8) * velocity - rate * gains * gradient
        places = places + velocity
        yield places


def _gradient(wanted: torch.Tensor, places: torch.Tensor, exaggeration: float) -> torch.Tensor:
    """Of the Kullback-Leibler divergence, `[N, 2]`: equation 5 of the paper, some rows at a time, so that they stay in the cache."""
    squares, known = places.square().sum(1) + 0.5, torch.cat([places, torch.ones_like(places[:, :1])], 1)
    pull, push, total = [], [], 0.0
    for start in range(0, len(places), ROWS):
        rows = slice(start, start + ROWS)
        closeness = torch.addmm(squares[rows, None] + squares, places[rows], places.T, alpha=-2).reciprocal_()
        closeness.diagonal(start).zero_()
        total += float(closeness.sum())
        pull.append((wanted[rows] * closeness) @ known)
        push.append(closeness.square_() @ known)
    force = exaggeration * torch.cat(pull) - torch.cat(push) / total  # the last column holds the sums over all others
    return 4 * (force[:, 2:] * places - force[:, :2])


def divergence(wanted: torch.Tensor, places: torch.Tensor) -> float:
    """What t-SNE makes small: the Kullback-Leibler divergence in nats of the neighbourhoods in a map from the `wanted` ones `[N, N]`."""
    closeness = (1 + squared_distances(places)).reciprocal().fill_diagonal_(0)
    return float(torch.xlogy(wanted.double(), wanted.double() / (closeness / closeness.sum()).clamp(min=1e-12)).sum())


def joint_probabilities(distances: torch.Tensor, perplexity: float) -> torch.Tensor:
    """How likely two vectors are picked as neighbours, `[N, N]`, symmetric, with the sum 1: normal distributions around each, as wide as
    gives them the `perplexity`, from squared distances."""
    others = distances.clone().fill_diagonal_(torch.inf)
    others = ((others.amin(1, keepdim=True) - others) / distances.mean().clamp(min=1e-300)).float()
    low, high = torch.full((len(others), 1), -40.0), torch.full((len(others), 1), 40.0)
    for _ in range(HALVINGS):  # of the logarithm of the precision: the higher it is, the fewer are near
        middle = (low + high) / 2
        shares = torch.softmax(others * middle.exp(), 1)
        wide = -torch.xlogy(shares, shares).sum(1, keepdim=True) > math.log(perplexity)
        low, high = torch.where(wide, middle, low), torch.where(wide, high, middle)
    return (shares + shares.T) / (2 * len(shares))


def umap(distances: torch.Tensor, start: torch.Tensor, neighbours: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Places `[N, 2]` after each of EPOCHS epochs, from squared distances `[N, N]` of at least 4 vectors and places to start from.

    `neighbours` is how many each vector is tied to, itself among them as in umap-learn.
    """
    strengths = memberships(distances.sqrt(), neighbours).float()
    tails, heads = strengths.triu().nonzero(as_tuple=True)
    strengths = strengths[tails, heads] / strengths.max()
    places = (10 / max(float(start.abs().max()), 1e-300) * start).float()
    places = places + 1e-4 * torch.randn(places.shape, generator=generator)
    for epoch in range(EPOCHS):
        rate = 1 - epoch / EPOCHS
        drawn = (torch.rand(len(tails), generator=generator) < strengths).nonzero().flatten()
        drawn = drawn[torch.randperm(len(drawn), generator=generator)]
        for part in drawn.chunk(PARTS):
            ends = torch.cat([tails[part], heads[part]])
            moves = attraction(places[ends] - places[torch.cat([heads[part], tails[part]])])
            places = places.index_add(0, ends, rate * moves)
            pushed = ends.repeat(NEGATIVE)
            strangers = torch.randint(len(places), pushed.shape, generator=generator)
            moves = repulsion(places[pushed] - places[strangers]) * (pushed != strangers)[:, None]
            places = places.index_add(0, pushed, rate * moves)
        yield places


def memberships(distances: torch.Tensor, neighbours: int) -> torch.Tensor:
    """How strongly two vectors are tied, `[N, N]`, symmetric, 0 to 1: each is tied to its nearest ones so that the strengths add up to the
    logarithm to base 2 of their number, the nearest with 1; a tie in either direction counts (arXiv:1802.03426, algorithms 2 and 3)."""
    count = len(distances)
    neighbours = min(neighbours, count)
    near = nearest(distances, neighbours - 1)
    lengths = distances.gather(1, near)
    beyond = (lengths - lengths[:, :1]).clamp(min=0)
    scale = beyond.mean().clamp(min=1e-300)
    low, high = torch.full((count, 1), -40.0, dtype=lengths.dtype), torch.full((count, 1), 40.0, dtype=lengths.dtype)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        strengths = torch.exp(-beyond / scale / middle.exp())
        much = strengths.sum(1, keepdim=True) > math.log2(neighbours)
        low, high = torch.where(much, low, middle), torch.where(much, middle, high)
    directed = torch.zeros_like(distances).scatter(1, near, strengths)
    return directed + directed.T - directed * directed.T


def attraction(difference: torch.Tensor) -> torch.Tensor:
    """Where a vector is moved by one it is tied to, `[M, 2]`, from their difference, at a rate of 1."""
    a, b = CURVE
    squares = difference.square().sum(1, keepdim=True).clamp(min=1e-8)
    return (-2 * a * b * squares ** (b - 1) / (1 + a * squares**b) * difference).clamp(-LARGEST, LARGEST)


def repulsion(difference: torch.Tensor) -> torch.Tensor:
    """Where a vector is moved by a stranger, `[M, 2]`, from their difference, at a rate of 1."""
    a, b = CURVE
    squares = difference.square().sum(1, keepdim=True)
    return (2 * b / ((0.001 + squares) * (1 + a * squares**b)) * difference).clamp(-LARGEST, LARGEST)
