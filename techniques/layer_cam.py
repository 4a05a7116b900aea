"""Which places of one layer raise the score of a class, each weighted by its own positive gradient, which works in early,
fine-grained layers too: one map per stage of the network, from coarse to fine, and all of them in one.

LayerCAM: Jiang, Zhang, Hou, Cheng and Wei 2021, IEEE Transactions on Image Processing 30: relu(sum over channels k of relu(dy/dA_k)
* A_k), place by place. Maps of several layers are put together as there: each is scaled by tanh(2 * M / max M), and the largest
value at each pixel counts. Departures: the deepest map is scaled so, too, not only the shallow ones; and the layers are not stages
of VGG but, for each size of grid that the network has, the last of its outermost modules that puts out maps of that size.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Browser, Heatmap, Layer, LayerName, LoadedModel, Predictions, Run, Sample, TargetClass, technique, torch
from techniques.base.attention import attending
from techniques.base.class_maps import browser, class_name, doubt, enlarged, evidence, no_places, predictions
from techniques.base.hooks import gradients_at, logits_from_layers

STAGES = 5  # so many sizes of grids, the coarsest ones


class Answer(NamedTuple):
    layer_cam: Browser
    all_stages: Heatmap | None
    by_stage: Browser | None
    predictions: Predictions


@technique(
    title="LayerCAM",
    family="Regions",
    paper="Jiang, Zhang, Hou, Cheng and Wei 2021, IEEE Transactions on Image Processing 30",
    order=35,
    limits="Only positive gradients count, so what speaks against the class is not seen. Maps of early layers are fine because these layers "
    "are, and show edges and textures whether or not they decide; in all stages together each map has the same say.",
    why_not=no_places,
)
def layer_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
) -> Answer:
    """One map `[H, W]` per class, in logits per cell of the layer's grid, never below zero: a named class first, then the five most
    probable ones. For the first class also one map per size of grid, and all of them together, between 0 and 1.

    Raises IncompatibleModel for a layer without a grid, and for one that moves no logit.
    """
    found = evidence(sample, model, run, layer, target)
    maps = browser(sample, model, found.layer, found.classes, _maps(found.maps, found.gradients))
    chosen = stages(model)
    if len(chosen) < 2:
        return Answer(maps, None, None, predictions(sample, model, found.logits))
    run.check()
    logits, outputs = logits_from_layers(model, [stage.name for stage in chosen], sample.pixels)
    first, name, cells, scaled = found.classes[0], class_name(model, found.classes[0]), {}, []
    run.check()
    gradients = gradients_at(logits[0, first], [outputs[stage.name] for stage in chosen])
    for stage, gradient in zip(chosen, gradients):
        values = _maps(stage.maps(outputs[stage.name].detach()), stage.maps(gradient)).relu()
        values = enlarged(values[None], sample.pixels.shape[2:])[0, 0]
        cells[stage.name] = Heatmap(values, unit="logit", caption=f"What speaks for “{name}” in {stage.name}{doubt(stage)}")
        scaled.append(torch.tanh(2 * values / values.max().clamp(min=torch.finfo(values.dtype).tiny)))
    together = f"What speaks for “{name}” in any of {', '.join(cells)}, each scaled to its own maximum"
    fused = Heatmap(torch.stack(scaled).amax(0), unit="share of the maximum, bent by tanh", caption=together)
    return Answer(maps, fused, Browser(("stage",), cells), predictions(sample, model, found.logits))


def stages(model: LoadedModel) -> list[Layer]:
    """For each size of grid up to the default layer's, coarse ones first, the last among the outermost modules with maps of this size.

    A finer grid has to come earlier in the network. What lies inside an attention is left out: maps there may be of
    queries by keys.
    """
    last, inside = model.layer(), tuple(f"{name}." for name in attending(model))
    outermost: dict[tuple[int, int], Layer] = {last.grid: last}
    for layer in model.layers[: model.layers.index(last)]:
        if layer.kind == "vector" or not layer.local or layer.grid[0] <= last.grid[0] or f"{layer.name}.".startswith(inside):
            continue
        known = outermost.get(layer.grid)
        if known is None or layer.name.count(".") <= known.name.count("."):
            outermost[layer.grid] = layer
    chosen: list[Layer] = []
    for layer in sorted(outermost.values(), key=lambda layer: layer.grid):
        if not chosen or model.layers.index(layer) < model.layers.index(chosen[-1]):
            chosen.append(layer)
    return chosen[:STAGES]


def _maps(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Positive gradient times activation, summed over the channels: `[N, h, w]` from `[1, C, h, w]` and `[N, C, h, w]`."""
    return (gradients.relu() * maps).sum(1)
