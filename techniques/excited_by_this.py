"""Which units your picture excites most, layer by layer: for each the patch that excites it, and beside it what the unit itself would like to
see, a picture made from the network alone.

A patch beside the picture that a unit is excited by most: Olah, Mordvintsev and Schubert 2017, doi:10.23915/distill.00007, section
"Why visualize by optimization?"; there for patches of a data set, here for those of one picture. A unit is a channel at one place, and of a channel its strongest
place counts. The patch is as large as the effective receptive field (Luo et al. 2016, arXiv:1701.04128), grey where it reaches over the border.
The pattern excites the channel everywhere; it is made as in Feature visualisation, all units of a layer at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from techniques.base import (
    Browser, Gallery, Help, Layer, LoadedModel, Note, Picture, Range, Run, Sample, Seed, technique, torch, visualisation,
)  # fmt: skip
from techniques.base.activations import MOST, activations_and_blocks, shrunk, stack_of_maps, word_for
from techniques.base.hooks import watching
from techniques.base.receptive_field import Field, receptive_field
from techniques.base.strongest_patches import strongest_places
from techniques.base.visualisation import Aim, Climb

GREY = 0.5  # what stands for a pattern that has not been begun


class Answer(NamedTuple):
    units: Gallery
    places: Browser
    note: Note


@dataclass(eq=False)
class Excited:
    """The strongest channels of one layer, `[N]` numbers, values and places, with their maps `[N, h, w]`; in time the field of its places, and
    patterns `[N, C, H, W]`."""

    layer: Layer
    channels: list[int]
    values: torch.Tensor
    places: torch.Tensor
    maps: torch.Tensor
    field: Field | None = None
    patterns: torch.Tensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{word_for(self.layer)} {channel}" for channel in self.channels)


@technique(
    title="Excited by this",
    family="What is inside",
    paper="doi:10.23915/distill.00007",
    order=13,
    limits="Strong is not decisive: the network may make nothing of a unit that is excited, and much of one that is not. A pattern is one of many "
    "that excite its channel; where patch and pattern do not look alike, the channel answers to more than one kind of thing.",
    why_not=lambda model: None if model.layers else "none of its layers can be read.",
    pairs=False,
)
def excited_by_this(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    layers: Annotated[int, Range(1, 16, 1, "layers"), Help("How many layers, from the first to the last, evenly spaced.")] = 5,
    units: Annotated[int, Range(1, 8, 1, "units"), Help("How many units of each layer, the strongest first.")] = 2,
    steps: Annotated[int, Range(0, 256, 1, "steps"), Help("How many steps each pattern is made in; with 0 there are patches alone.")] = 24,
    seed: Seed = 0,
) -> Answer:
    """Patches and patterns `[C, h, w]` in [0, 1], two columns for each unit and a row for each layer; maps `[H, W]` in the layer's unit."""
    run.check()
    found = _look(model, sample.pixels, units, layers)
    for one in run.part(0, 1 + len(found), "Patches").steps(found, "layer"):
        one.field = receptive_field(model, one.layer, run)
    run.show(lambda: _answer(sample, found, steps))
    for number, one in enumerate(found if steps else (), 1):

        def see(_step: int, pictures: torch.Tensor, _values: torch.Tensor) -> None:
            one.patterns = pictures
            run.show(lambda: _answer(sample, found, steps))

        part = run.part(number, 1 + len(found), one.layer.name)
        visualisation.maximise(model, Aim.at_channels(one.layer, one.channels), Climb(steps), part, seed=seed, see=see)
    return _answer(sample, found, steps)


def _look(model: LoadedModel, pixels: torch.Tensor, units: int, count: int) -> list[Excited]:
    """The strongest units of some layers, activations and blocks with places where there are any; of one output under two names the first."""
    known = activations_and_blocks(model)
    known = [layer for layer in known if layer.kind != "vector"] or known
    by_name, seen, last = {layer.name: layer for layer in known}, {}, None

    def see(name: str, output: torch.Tensor) -> None:
        nonlocal last
        if output is not last:
            seen.pop(name, None)  # the last use decides the place in the order
            seen[name] = _strongest(by_name[name], output, units)
            last = output

    with torch.no_grad(), watching(model, by_name, see):
        model.valid_logits(pixels)
    chosen = dict.fromkeys(torch.linspace(0, len(seen) - 1, min(count, len(seen))).round().int().tolist())
    return [list(seen.values())[number] for number in chosen]


def _strongest(layer: Layer, output: torch.Tensor, units: int) -> Excited:
    maps = layer.maps(output)[0]
    values, places = strongest_places(maps)
    order = values.argsort(descending=True, stable=True)[:units]
    return Excited(layer, order.tolist(), values[order], places[order], shrunk(maps[order], MOST // 16).clone())


def _answer(sample: Sample, found: list[Excited], steps: int) -> Answer:
    size = tuple(sample.pixels.shape[2:])
    most = max(len(one.channels) for one in found)
    items, names = [], []
    for one in found:
        rows = zip(one.names, one.values.tolist(), one.places.tolist())
        for number, (name, value, place) in enumerate(rows):
            patch = one.field.crop(sample.pixels[0, :3], divmod(place, one.layer.grid[1]))
            items.append(Picture(patch, caption=f"Patch of {sample.origin}"))
            names.append(f"{one.layer.name}, {name}: {value:.3g}")
            if steps:
                pattern = torch.full_like(sample.pixels[0, :3], GREY) if one.patterns is None else one.patterns[number, :3]
                items.append(Picture(pattern, caption=f"{one.layer.name}, {name}: pattern"))
                names.append(f"what {name} looks for")
    columns = most * (2 if steps else 1)
    level = all(len(one.channels) == most for one in found)
    caption = f"The units that {sample.origin} excites most, from the first layers to the last: its patch, then the pattern"
    gallery = Gallery(tuple(items), tuple(names), columns=columns if level else 0, caption=caption)
    places = {one.layer.name: stack_of_maps(one.names, one.maps, one.layer.name, None if one.layer.kind == "vector" else size) for one in found}
    return Answer(gallery, Browser(("layer", "channel"), places, caption="Where in the picture they answer"), Note(_story(found)))


def _story(found: list[Excited]) -> str:
    """How the patches grow, and where nothing answers."""
    sizes = ", ".join(f"{one.field.size[0]} × {one.field.size[1]} px in {one.layer.name}" for one in found)
    silent = [one.layer.name for one in found if float(one.values[0]) <= 0]
    told = f"Patches are what a unit has seen: {sizes}."
    return told + (f" Nothing is above zero in {', '.join(silent)}." if silent else "")
