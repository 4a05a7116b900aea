"""A map of your pictures as the network sees them: those with similar features stand close together. Where an attack leads one of them is
drawn into it.

The features are what the last linear layer receives; without one, the mean over the places of the default layer. t-SNE: van der Maaten and
Hinton 2008, JMLR 9; UMAP: McInnes et al. 2018, arXiv:1802.03426; PCA: Pearson 1901 (all in `techniques/base/embedding.py`, with their
departures). A new picture has an exact place in PCA only: in the others each step of the attack stands between its nearest pictures,
weighted by their distance. The current picture is the last one of the set, where one that is sent on arrives.
"""

from __future__ import annotations

from typing import Annotated, Literal

from techniques.base import (
    TECHNIQUES, Epsilon, Help, LoadedModel, ParameterError, Range, Run, Samples, Seed, Steps, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.attacks import attack_pixels
from techniques.base.attacks.record import Record
from techniques.base.batches import batch_size, batches, parts
from techniques.base.embedding import EARLY, EPOCHS, LATE, Plane, t_sne, turned, umap
from techniques.base.feature_map import FEWEST, Answer, Seen, features_of, map_of


def why_not(model: LoadedModel) -> str | None:
    return None if model.head or model.default_layer else "it has no linear head, and no layer with places whose mean could be taken."


@technique(
    title="Embedding map",
    family="What is inside",
    paper="van der Maaten and Hinton 2008, JMLR 9",
    order=12,
    why_not=why_not,
    limits="A map of two dimensions leaves most out. In t-SNE and UMAP only neighbourhoods mean something: not the size of a cluster, not how far "
    "two of them are apart, and other settings give other maps. Neighbours are counted among the features themselves: trust those more.",
)
def embedding_map(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    method: Annotated[
        Literal["t-SNE", "UMAP", "PCA"],
        Help("t-SNE and UMAP keep neighbours together; PCA shows the two directions along which the features differ most."),
    ] = "t-SNE",
    neighbours: Annotated[
        int, Range(2, 100, 1, "pictures"), Help("How many others each picture is kept close to: the perplexity of t-SNE, the number of UMAP.")
    ] = 20,
    path: Annotated[Literal["none", "PGD"], Help("Attack the current picture, the last of the set, and draw its way into the map.")] = "PGD",
    epsilon: Epsilon = 2.0,
    steps: Steps = 10,
    target: TargetClass = None,
    seed: Seed = 0,
) -> Answer:
    """Places `[N, 2]`, in units of the features for PCA, else in units of the map; the features' nearest neighbours; counts of predicted classes.

    Raises ParameterError for fewer than two pictures.
    """
    if len(samples) < 2:
        raise ParameterError("A map takes at least two pictures; received one. Add some more, of several kinds.")
    seen, used = Seen(samples, model), method if len(samples) >= FEWEST else "PCA"
    for part, due in run.part(0, 3, "Features").steps(batches(len(samples), model), "batch"):
        seen.look(samples.only(range(len(samples))[part]))
        if due:
            run.show(lambda: map_of(seen, "PCA", Plane(seen.features)))
    if path == "PGD" and TECHNIQUES["pgd"].why_not(model) is None:
        attack(seen, run.part(1, 3, "Path"), target, seed, epsilon=epsilon, steps=steps)
    plane = Plane(seen.features)
    if used == "PCA":
        return map_of(seen, used, plane, asked=method)
    run.show(lambda: map_of(seen, "PCA", plane))
    start, generator = plane.places(seen.features), torch.Generator().manual_seed(seed)
    moving = t_sne(seen.distances, start, neighbours) if used == "t-SNE" else umap(seen.distances, start, neighbours, generator)
    for _ in run.part(2, 3, "Map").steps(EARLY + LATE if used == "t-SNE" else EPOCHS, f"{used}, step"):
        places = next(moving)
        run.show(lambda: map_of(seen, used, turned(places, start)))
    return map_of(seen, used, turned(places, start), asked=method)


def attack(seen: Seen, run: Run, target: int | None, seed: int, **settings: float) -> None:
    """Attack the last picture; keep its iterates, the picture itself first, and their features."""
    pgd, sample = TECHNIQUES["pgd"], seen.samples[len(seen.samples) - 1]
    start = seen.logits[-1:].to(sample.pixels.device)
    goal = pgd.attack.goal(seen.model, start, target)
    record = Record(sample.pixels, goal)
    record.add(sample.pixels, start, 0, 0)
    attack_pixels(
        pgd, seen.model, sample.pixels, goal, run, seed=seed, **settings,
        watch=lambda task, iterate: record.add(iterate.pixels, iterate.logits, task.forward, task.backward),
    )  # fmt: skip
    seen.moments, found = record.kept, []
    for part in parts(torch.stack([moment.pixels for moment in seen.moments]), batch_size(seen.model)):
        run.check()
        found.append(features_of(seen.model, part)[1])
    seen.way = torch.cat(found)
