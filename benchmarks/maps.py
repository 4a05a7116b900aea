"""The case of the embedding map: t-SNE of 2,000 features, its steps one by one, beside libraries that give no sign until they are done."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import torch

from benchmarks.cases import Case, installed
from techniques.base import Run
from techniques.base.embedding import EARLY, LATE, Plane, squared_distances, t_sne

COUNT, WIDTH, PERPLEXITY = 2000, 512, 30


def t_sne_of_many(device: str) -> Case:
    """The map is computed on the CPU, whatever the model runs on."""
    features = torch.randn(COUNT, WIDTH, generator=torch.Generator().manual_seed(0))

    def ours() -> None:
        told: list[float] = []
        run = Run(report=lambda fraction, text: told.append(fraction))
        moving = t_sne(squared_distances(features), Plane(features).places(features), PERPLEXITY)
        for _ in run.steps(EARLY + LATE, "t-SNE, step"):
            next(moving)
        assert len(told) > EARLY + LATE  # progress after every step

    def scikit_learn() -> None:
        peer = importlib.import_module("sklearn.manifold").TSNE(perplexity=PERPLEXITY, max_iter=EARLY + LATE, random_state=0)
        peer.fit_transform(features.numpy())

    def open_t_sne() -> None:
        peer = importlib.import_module("openTSNE").TSNE(perplexity=PERPLEXITY, n_jobs=torch.get_num_threads(), random_state=0)
        peer.fit(features.numpy())

    others, missing = installed({"sklearn, Barnes-Hut": scikit_learn, "openTSNE": open_t_sne})
    return Case(f"t-SNE of {COUNT:,} features, {EARLY + LATE} steps, each of them told", ours, others, {}, missing)


MAPS: dict[str, Callable[[str], Case]] = {"t_sne": t_sne_of_many}
