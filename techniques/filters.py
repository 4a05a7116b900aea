"""What the network has learned to compare with: the filters that read the picture itself, as colour pictures; the weights of any
convolution or linear layer, input by input; and how the weights of every layer are distributed.

First-layer filters as pictures: Krizhevsky et al. 2012, NeurIPS, figure 3; of patch embeddings their principal components: Dosovitskiy et
al. 2021, arXiv:2010.11929, figure 7. Weights stand as they are stored: a network that standardises them before use, or that
multiplies by a batch norm afterwards, works with others. A colour picture is drawn around grey, up to its own largest weight, for
pixels that have been normalised. Beside a filter is its answer to your picture, before what follows. A first layer that is linear and
reads all pixels in their order has a template of the picture's size per unit. Departure: principal components are those of the
filters less their mean, and their answers follow from those of the filters, since both are linear.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from techniques.base import (
    Browser, Curve, Gallery, Heatmap, Help, Histogram, Layer, LayerName, LoadedModel, Note, Picture, Run, Sample, Stack, technique, torch,
)  # fmt: skip
from techniques.base.activations import MOST, laid_out, rectangle, shrunk
from techniques.base.weights import (
    Distribution, colour_kernels, kernels, layers_with_kernels, mosaic, principal_components, watched, weighted_layer,
)  # fmt: skip


class Answer(NamedTuple):
    first_layer: Browser | None
    weights: Browser
    histogram: Browser
    layers: Curve
    note: Note


@technique(
    title="Filters",
    family="What is inside",
    paper="Krizhevsky et al. 2012, NeurIPS, figure 3",
    order=8,
    limits="Only the first layer's filters speak of colours and edges: those of a later layer weigh channels that only the network "
    "knows the meaning of. A large weight on a channel that is always small counts for little. The answer is that of the layer alone, before a norm "
    "or an activation that follows.",
    why_not=lambda model: None if layers_with_kernels(model) else "it has no convolution and no linear layer whose weights can be read.",
)
def filters(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    layer: LayerName = None,
    first: Annotated[
        Literal["filters", "principal components"], Help("The first layer's filters, or the patterns they are mixed from, the most used first.")
    ] = "filters",
    sort: Annotated[Literal["index", "norm"], Help("The order of the filters: by number, or the largest norm of the weights first.")] = "index",
) -> Answer:
    """Weights in the layer's own unit, answers `[H, W]` to the picture, counts of weights.

    Of a `layer` without weights that can be read, those of the last one before it are shown, or of the first one.
    """
    run.check()
    known = layers_with_kernels(model)
    chosen, reading = weighted_layer(model, layer, known), known[0]
    outputs = watched(model, {reading.name: reading, chosen.name: chosen}, sample.pixels)
    size = tuple(sample.pixels.shape[2:])
    front = _front(model, reading, outputs[reading.name], sample.pixels, first, sort)
    own = Browser(("filter",), _weights(model, chosen, outputs[chosen.name], size, sort), caption=f"Weights of {chosen.name}")
    told = _story(model, layer, chosen, reading, front, own)
    found: dict[str, Distribution] = {}
    for one in run.steps(known, "Weights of layer"):
        found[one.name] = Distribution.of(model.module(one.name).weight.detach())
        run.show(lambda: Answer(front, own, *_distributions(found), told))
    return Answer(front, own, *_distributions(found), told)


def _order(weight: torch.Tensor, sort: str) -> torch.Tensor:
    """Which filters of `[N, ...]` are shown, in order: as many as MOST numbers have room for, largest norm first where sorted by it."""
    norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    numbers = norms.argsort(descending=True, stable=True) if sort == "norm" else torch.arange(len(weight), device=weight.device)
    return numbers[: max(1, MOST // weight[0].numel())]


def _front(model: LoadedModel, layer: Layer, output: torch.Tensor, pixels: torch.Tensor, first: str, sort: str) -> Browser | None:
    """The first layer's filters `[C, h, w]` as pictures with their answers; None where it does not read pixels as they are."""
    weight, channels = colour_kernels(model, layer, output, pixels), pixels.shape[1]
    if weight is None:
        return None
    maps = layer.maps(output)[0]
    if first == "filters":
        order = _order(weight, sort)
        weight, answers, names = weight[order], maps[order], tuple(f"filter {number}" for number in order.tolist())
        told = f"Filters of {layer.name}, each up to its own largest weight"
    else:
        weight, answers, shares = principal_components(weight, maps)
        names = tuple(f"component {number}" for number in range(1, len(weight) + 1))
        told = f"Principal components of the {layer.channels} filters of {layer.name}; these hold {100 * float(shares.sum()):.3g} % of their variance"
    stacked = {"weights": weight[:, :3] if channels > 3 else weight}
    if layer.kind != "vector":
        stacked["answer"] = shrunk(answers)
    told += "; the channel of transparency is left out" if channels > 3 else ""
    return Browser(("filter",), Stack(names, stacked, partial(_coloured, layer.name, tuple(pixels.shape[2:])), "weights"), caption=told)


def _coloured(layer: str, size: tuple[int, int], name: str, entry: Mapping[str, Any]) -> Gallery:
    caption = f"{layer}, {name}"
    picture = Picture(entry["weights"], signed=True, caption=caption)
    return _beside(picture, caption, size, entry)


def _beside(shown: Heatmap | Picture, caption: str, size: tuple[int, int], entry: Mapping[str, Any]) -> Gallery:
    """A filter and, where it has one for each place, its answer to the picture."""
    if "answer" not in entry:
        return Gallery((shown,), ("weights",), scale="own", caption=caption)
    answer = Heatmap(laid_out(entry["answer"], size), signed=True, caption=f"Answer of {caption}")
    return Gallery((shown, answer), ("weights", "answer to the picture"), scale="own", caption=caption)


def _weights(model: LoadedModel, layer: Layer, output: torch.Tensor, size: tuple[int, int], sort: str) -> Stack:
    """The filters of a layer, `[inputs, h, w]` each; of one weight per input a rectangle of these."""
    weight = kernels(model, layer)
    order = _order(weight, sort)
    weight = weight[order]
    stacked = {"weights": weight, "norm": torch.linalg.vector_norm(weight.flatten(1), dim=1), "filter": order}
    if weight.shape[2:].numel() == 1:
        stacked["weights"], tile = weight.view(len(weight), *rectangle(weight.shape[1])), "weights"
    else:
        stacked["mean over the inputs"], tile = weight.mean(1), "mean over the inputs"
    if layer.kind != "vector":
        stacked["answer"] = shrunk(layer.maps(output)[0][order])
    return Stack(tuple(f"filter {number}" for number in order.tolist()), stacked, partial(_multiples, layer.name, size), tile)


def _multiples(layer: str, size: tuple[int, int], name: str, entry: Mapping[str, Any]) -> Gallery:
    values = entry["weights"]
    shape = " × ".join(map(str, values.shape)) if values.ndim == 3 else f"{values.size}"
    caption = f"{layer}, {name}: {shape} weights, norm {float(entry['norm']):.3g}"
    return _beside(Heatmap(mosaic(values) if values.ndim == 3 else values, signed=True, caption=caption), caption, size, entry)


def _distributions(found: Mapping[str, Distribution]) -> tuple[Browser, Curve]:
    """A histogram per layer, and the spread of the weights over the layers."""
    cells = {
        name: Histogram(one.edges, {"weights": one.counts}, x_label="weight", log=True, caption=f"{name}: {one.counts.sum():,} weights")
        for name, one in found.items()
    }
    lines = {"deviation": [one.deviation for one in found.values()], "largest size": [one.largest for one in found.values()]}
    curve = Curve(
        np.arange(len(found)),
        {name: np.array(line) for name, line in lines.items()},
        x_label="layer",
        y_label="weight",
        ticks=tuple(found),
        caption="How large the weights of each layer are; click on a layer to see their histogram",
    )
    return Browser(("layer",), cells, caption="How the weights of a layer are distributed"), curve


def _story(model: LoadedModel, asked: str | None, chosen: Layer, reading: Layer, front: Browser | None, own: Browser) -> Note:
    name = asked or model.default_layer or chosen.name
    told = [f"Weights are those of {chosen.name}" + (f": {name} itself has none to show." if name != chosen.name else ".")]
    shown = len(own.positions())
    if shown < chosen.channels:
        told.append(f"Of its {chosen.channels} filters {shown} are shown: a page cannot hold more of their size.")
    if front is None:
        told.append(f"The first layer with weights, {reading.name}, does not read the picture's pixels as they are, so it has no filters in colour.")
    return Note(" ".join(told))
