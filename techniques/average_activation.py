"""Where a network answers differently to two pictures, or to two kinds of pictures: for every filter its average
activation over each group, and the difference of the two.

The comparison of CNN Visualizer (bachelor thesis, Charles University 2022), there for Keras models. What is averaged
is the output of each convolution and linear layer itself, before a batch norm or a ReLU that follows it, so it has
both signs (in Keras a layer may contain its ReLU). Convolutions give maps; a linear layer over patches gives maps
on the grid of the patches, class token left out; any other linear layer is one rectangle of all its units, row by
row, its sides the two factors of their number nearest to a square (1000 units are 25 x 40, a prime number is one
row). Filters are ordered by the norm of their difference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from techniques.base import (
    Browser, Curve, Gallery, Heatmap, Help, Histogram, Layer, LoadedModel, Note, ParameterError, Run, Samples, Stack, technique, torch,
)  # fmt: skip
from techniques.base.activations import BATCH, average_maps, histograms, rectangle

ORDERS = {"1": 1, "2": 2, "infinity": math.inf}


class Answer(NamedTuple):
    browser: Browser
    layer_average: Browser
    histogram: Browser
    layers: Curve
    note: Note


class Comparison(NamedTuple):
    """One layer for both groups. `norms` holds a number per filter or unit; `names` and the arrays of `stacked` (first
    and second average `[N, h, w]`, norm `[N]`, filter number `[N]`) an entry per map, largest norm first."""

    layer: Layer
    norms: torch.Tensor
    names: tuple[str, ...]
    stacked: dict[str, torch.Tensor]


@technique(
    title="Average activation",
    family="What is inside",
    paper="CNN Visualizer, bachelor thesis, Charles University 2022",
    order=10,
    limits="A large difference is no cause: the network may not use it. Averages over pictures blur what stands at different "
    "places, and norms of layers of different size are not comparable as numbers: a larger map has more to sum.",
    why_not=lambda model: None if any(layer.weighted for layer in model.layers) else "no convolution or linear layer of it can be read.",
)
def average_activation(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    groups: Annotated[
        Literal["pictures", "classes"], Help("Two pictures against each other, or the two classes that are predicted most often among many pictures.")
    ] = "pictures",
    norm: Annotated[Literal["1", "2", "infinity"], Help("Order of the norm by which differences are ranked.")] = "2",
    logarithmic: Annotated[bool, Help("Draw the counts of the histograms on a logarithmic scale.")] = True,
) -> Answer:
    """Average outputs per group, in the layer's own unit, and their difference, first minus second, on one scale.

    Raises ParameterError when the pictures do not make two groups.
    """
    pair = two_pictures(samples) if groups == "pictures" else two_classes(samples, model, run)
    layers = [layer for layer in model.layers if layer.weighted]
    first, second = average_maps(model, layers, list(pair.values()), run)
    compared = [compare(layer, first.pop(layer.name), second.pop(layer.name), ORDERS[norm]) for layer in layers]
    names = tuple(pair)
    return Answer(
        Browser(
            ("layer", "filter"),
            {c.layer.name: Stack(c.names, c.stacked, partial(_filter_cell, c.layer.name, names)) for c in compared},
            caption=f"Average activation, filters ordered by norm {norm} of the difference, largest first",
        ),
        Browser(("layer",), {c.layer.name: _layer_cell(c) for c in compared}, caption="Difference, averaged over the filters of a layer"),
        Browser(
            ("layer", "filter"),
            {c.layer.name: _histogram_stack(c, names, logarithmic) for c in compared},
            caption="How the values of the two average activations are distributed",
        ),
        _curve(compared, norm),
        Note(_story(pair, compared, len(samples), norm)),
    )


def two_pictures(samples: Samples) -> dict[str, Samples]:
    """Each of exactly two pictures as a group of its own, by name."""
    if len(samples) != 2:
        hint = "Add another one." if len(samples) < 2 else "Choose two of them, or set groups to classes."
        raise ParameterError(f"Comparing pictures takes exactly two of them; received {len(samples)}. {hint}")
    names = [sample.origin for sample in samples]
    if names[0] == names[1]:
        names = [f"{names[0]} (first)", f"{names[1]} (second)"]
    return {name: Samples((sample,)) for name, sample in zip(names, samples)}


def two_classes(samples: Samples, model: LoadedModel, run: Run) -> dict[str, Samples]:
    """The pictures of the two most frequent predicted classes, by name; among equals the class seen first."""
    if len(samples) < 2:
        raise ParameterError(f"Comparing classes takes at least two pictures; received {len(samples)}. Add pictures of another kind.")
    predicted: list[int] = []
    for part in run.steps(samples.batches(BATCH), "Predicting, batch"):
        predicted += model.predicted(model.probabilities(part.pixels)).tolist()
    frequent = Counter(predicted).most_common(2)
    if len(frequent) < 2:
        label = model.label(predicted[0])
        raise ParameterError(
            f"All {len(samples)} pictures are predicted as “{label}”, and comparing needs two classes. Add pictures of another kind."
        )
    return {
        f"{model.label(index)} ({count} picture{'s' * (count > 1)})": Samples(tuple(s for s, found in zip(samples, predicted) if found == index))
        for index, count in frequent
    }


def compare(layer: Layer, first: torch.Tensor, second: torch.Tensor, order: float) -> Comparison:
    """Rank the filters of two averages `[C, h, w]` by the norm of their difference; a vector becomes one rectangle."""
    difference = (first - second).flatten(1)
    norms = torch.linalg.vector_norm(difference, order, dim=1)
    if layer.kind == "vector":
        shape = (1, *rectangle(layer.channels))
        stacked = {"first": first.view(shape), "second": second.view(shape), "norm": torch.linalg.vector_norm(difference, order).view(1)}
        return Comparison(layer, norms, (f"all {layer.channels} units",), stacked)
    ranking = norms.argsort(descending=True, stable=True)
    stacked = {"first": first[ranking], "second": second[ranking], "norm": norms[ranking], "filter": ranking}
    return Comparison(layer, norms, tuple(f"filter {number}" for number in ranking.tolist()), stacked)


def _filter_cell(layer: str, names: tuple[str, str], name: str, entry: Mapping[str, Any]) -> Gallery:
    maps = (entry["first"], entry["second"], entry["first"] - entry["second"])
    caption = f"{layer}, {name}: norm of the difference {float(entry['norm']):.3g}"
    return Gallery(tuple(Heatmap(values, signed=True) for values in maps), (*names, "difference"), caption=caption)


def _layer_cell(comparison: Comparison) -> Gallery:
    difference = comparison.stacked["first"] - comparison.stacked["second"]
    maps = (Heatmap(difference.mean(0), signed=True), Heatmap(difference.abs().mean(0)))
    return Gallery(maps, ("average difference", "average size of the difference"), caption=comparison.layer.name)


def _histogram_stack(comparison: Comparison, names: tuple[str, str], logarithmic: bool) -> Stack:
    """The histogram of the whole layer, then one per filter where there is more than one."""
    first, second = (comparison.stacked[key].flatten(1) for key in ("first", "second"))
    positions, found = comparison.names, histograms(first, second)
    if len(positions) > 1:
        layer = histograms(first.view(1, -1), second.view(1, -1))
        positions, found = ("all filters", *positions), {key: torch.cat([layer[key], found[key]]) for key in found}
    return Stack(positions, found, partial(_histogram_cell, comparison.layer.name, names, logarithmic))


def _histogram_cell(layer: str, names: tuple[str, str], logarithmic: bool, name: str, entry: Mapping[str, Any]) -> Histogram:
    counts = dict(zip(names, (entry["first"], entry["second"])))
    return Histogram(entry["edges"], counts, x_label="average activation", log=logarithmic, caption=f"{layer}, {name}")


def _curve(compared: Sequence[Comparison], norm: str) -> Curve:
    """Average, smallest and largest norm over the filters (or units) of each layer."""
    summaries = {"average": torch.Tensor.mean, "smallest": torch.Tensor.amin, "largest": torch.Tensor.amax}
    return Curve(
        torch.arange(len(compared)),
        {name: torch.stack([summary(c.norms) for c in compared]) for name, summary in summaries.items()},
        x_label="layer",
        y_label=f"norm {norm} of a filter's difference",
        ticks=tuple(c.layer.name for c in compared),
        caption="How far apart the two groups are in the filters of each layer",
    )


def _story(pair: Mapping[str, Samples], compared: Sequence[Comparison], pictures: int, norm: str) -> str:
    """Who was compared, and where the largest difference is."""
    most = max(compared, key=lambda c: float(c.norms.max()))
    number, part = int(most.norms.argmax()), "unit" if most.layer.kind == "vector" else "filter"
    left = pictures - sum(len(group) for group in pair.values())
    others = f" {left} picture{'s' * (left > 1)} of other classes left out." if left else ""
    return (
        f"{' against '.join(pair)}: the difference is largest in layer {most.layer.name}, {part} {number} "
        f"(norm {norm}: {float(most.norms.max()):.3g}).{others}"
    )
