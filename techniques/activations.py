"""What each channel of a layer answers to this picture, place by place: every channel of one layer, the strongest ones of all layers,
and how many numbers of each layer are at rest.

A grid of all channels of a layer for one picture: Yosinski et al. 2015, arXiv:1506.06579, section 2. What is shown is the output of the
chosen layer at its last use, in its own unit, on the grid of its places; of tokens the patches alone, class token and registers left
out. A vector is one rectangle of all its units, row by row, its sides the two factors of their number nearest to a square. A channel
is as strong as the mean or the maximum of the size of its output; between layers, whose units differ, strengths are counted in root
mean squares of the whole layer's output. Departure: the paper's grids are live and on one scale for each channel; here a common scale
can be had, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

from techniques.base import Browser, Curve, Help, Layer, LayerName, LoadedModel, Note, Run, Sample, Stack, technique, torch
from techniques.base.activations import MOST, activations_and_blocks, rectangle, shrunk, stack_of_maps, word_for
from techniques.base.hooks import watching

STRONGEST, OF_ALL = 12, 24  # channels that are kept of each layer, and shown of all layers together
GRID = 56  # places along a side, at the most, of the strongest channels of all layers
EVERYWHERE = "all layers"
STRENGTHS = {"mean": lambda sizes: sizes.mean(1), "maximum": lambda sizes: sizes.amax(1)}


class Answer(NamedTuple):
    channels: Browser
    strongest: Browser
    sparsity: Curve
    note: Note


class Seen(NamedTuple):
    """One layer on one picture: maps `[N, h, w]` of its strongest channels in root mean squares of the layer, their numbers and
    strengths `[N]`, and three shares in [0, 1]; of a vector the only map is the rectangle of all its `channels` units, and `numbers` is empty."""

    channels: int
    maps: torch.Tensor
    numbers: list[int]
    strengths: torch.Tensor
    zero: float
    below: float
    silent: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"channel {number}" for number in self.numbers) or (f"all {self.channels} units",)


@technique(
    title="Activations",
    family="What is inside",
    paper="arXiv:1506.06579",
    order=7,
    limits="A channel that is strong here is not one that decides, and one picture does not say what a channel stands for. Each square lies where "
    "the place is in the grid; what that place has seen is larger, and in deep layers as large as the picture.",
    why_not=lambda model: None if model.layers else "none of its layers can be read.",
)
def activations(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    layer: LayerName = None,
    sort: Annotated[Literal["index", "mean", "maximum"], Help("Channels by number, or by the mean or maximum of |output|.")] = "maximum",
    scale: Annotated[Literal["per channel", "common"], Help("Draw each channel up to its own largest value, or to the layer's.")] = "per channel",
    layers: Annotated[
        Literal["activations and blocks", "all"], Help("Which layers are compared: all, or no convolutions, linear layers and norms.")
    ] = "activations and blocks",
) -> Answer:
    """Outputs of a layer as maps `[H, W]` in its own unit; of other layers in root mean squares of each; shares per layer from 0 to 1."""
    run.check()
    chosen = model.layer(layer) if layer or model.default_layer else model.layers[-1]
    wanted = list(model.layers) if layers == "all" else activations_and_blocks(model)
    outputs, seen = look(model, sample.pixels, chosen, wanted, STRENGTHS["maximum" if sort == "index" else sort])
    run.check()
    size = tuple(sample.pixels.shape[2:])
    unit = "root mean squares of the layer"
    strongest = {name: stack_of_maps(found.names, found.maps, name, size if found.numbers else None, unit) for name, found in seen.items()}
    everywhere = _everywhere(seen, size, unit)
    told = {"index": "by their number", "mean": "largest mean first", "maximum": "largest maximum first"}[sort]
    return Answer(
        Browser(("channel",), _channels(chosen, outputs, size, sort, scale == "common"), caption=f"Channels of {chosen.name}, {told}"),
        Browser(("layer", "channel"), everywhere | strongest, caption="The strongest channels, in units in which layers can be compared"),
        _sparsity(seen),
        Note(_story(chosen, outputs, everywhere)),
    )


def look(model: LoadedModel, pixels: torch.Tensor, chosen: Layer, layers: Sequence[Layer], strength) -> tuple[torch.Tensor, dict[str, Seen]]:
    """One pass: all maps `[C, h, w]` of the chosen layer, and what is kept of each of the `layers` that does not hand on another's output."""
    by_name, kept, seen = {layer.name: layer for layer in layers}, [], {}
    most, last = MOST // len(by_name), None

    def see(name: str, output: torch.Tensor) -> None:
        nonlocal last
        if name == chosen.name:
            kept[:] = [chosen.maps(output)[0].clone()]  # what follows may add to it in place
        if name in by_name and output is not last:
            seen.pop(name, None)  # the last use decides the place in the order
            seen[name] = _summary(by_name[name], output, strength, most)
            last = output

    with torch.no_grad(), watching(model, {**by_name, chosen.name: chosen}, see):
        model.valid_logits(pixels)
    return kept[0], seen


def _summary(layer: Layer, output: torch.Tensor, strength, most: int) -> Seen:
    maps = layer.maps(output)[0]
    flat = maps.flatten(1)
    mean_square = flat.square().mean()
    relative = maps / mean_square.sqrt() if mean_square > 0 else maps.clone()
    shares = float((flat == 0).float().mean()), float((flat <= 0).float().mean()), float((flat <= 0).all(1).float().mean())
    if layer.kind == "vector":
        return Seen(len(maps), relative.view(1, *rectangle(len(maps))), [], torch.zeros(0, device=maps.device), *shares)
    strengths = strength(relative.flatten(1).abs())
    ranking = strengths.argsort(descending=True, stable=True)[:STRONGEST]
    return Seen(len(maps), shrunk(relative[ranking], most), ranking.tolist(), strengths[ranking], *shares)


def _channels(layer: Layer, outputs: torch.Tensor, size: tuple[int, int], sort: str, common: bool) -> Stack:
    """Every channel of a layer; a vector as one rectangle, which has no place in the picture."""
    if layer.kind == "vector":
        return stack_of_maps((f"all {len(outputs)} units",), outputs.view(1, *rectangle(len(outputs))), layer.name, None)
    numbers = torch.arange(len(outputs), device=outputs.device)
    if sort != "index":
        numbers = STRENGTHS[sort](outputs.flatten(1).abs()).argsort(descending=True, stable=True)
    maps = shrunk(outputs[numbers])
    doubt = "" if layer.local else " (its places may lie elsewhere in the picture)"
    names = tuple(f"channel {number}" for number in numbers.tolist())
    return stack_of_maps(names, maps, layer.name + doubt, size, reach=float(maps.abs().max()) if common else None)


def _everywhere(seen: Mapping[str, Seen], size: tuple[int, int], unit: str) -> dict[str, Stack]:
    """The strongest channels of all layers with places, at one common number of places; {} where there is no such layer."""
    all_of_them = ((float(strength), name, row) for name, found in seen.items() for row, strength in enumerate(found.strengths))
    ranked = sorted(all_of_them, key=lambda one: -one[0])[:OF_ALL]
    if not ranked:
        return {}
    grid = (min(size[0], GRID), min(size[1], GRID))
    fewer = [shrunk(seen[name].maps[row : row + 1], math.prod(grid)) for _, name, row in ranked]
    maps = torch.cat([torch.nn.functional.interpolate(places[None], grid, mode="nearest-exact")[0] for places in fewer])
    names = tuple(f"{name}, channel {seen[name].numbers[row]}" for _, name, row in ranked)
    return {EVERYWHERE: stack_of_maps(names, maps, "", size, unit, strength=torch.tensor([strength for strength, *_ in ranked]))}


def _sparsity(seen: Mapping[str, Seen]) -> Curve:
    lines = {"not above zero": "below", "exactly zero": "zero", "silent channels": "silent"}
    return Curve(
        torch.arange(len(seen)),
        {told: torch.tensor([getattr(found, name) for found in seen.values()]) for told, name in lines.items()},
        x_label="layer",
        y_label="share of the layer's output",
        ticks=tuple(seen),
        caption="How much of each layer is at rest; silent channels are nowhere above zero. Click on a layer to see its strongest channels",
    )


def _story(layer: Layer, outputs: torch.Tensor, everywhere: Mapping[str, Stack]) -> str:
    """How many channels of the chosen layer answer at all, and which channel of all layers stands out most."""
    silent = int((outputs.flatten(1) <= 0).all(1).sum())
    told = f"Of the {len(outputs)} {word_for(layer)}s of {layer.name}, {silent} {'is' if silent == 1 else 'are'} nowhere above zero for this picture."
    if layer.prefix_tokens:
        told += f" Its {layer.prefix_tokens} prefix tokens have no place in the picture and are left out."
    if everywhere:
        stack = everywhere[EVERYWHERE]
        told += f" Of all layers, {stack.names[0]} stands out most: {float(stack.stacked['strength'][0]):.3g} root mean squares of its layer."
    return told
