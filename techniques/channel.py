"""All that can be seen of one channel: where it answers to your picture, the patches that excite it most, what it looks for, the weights it is
computed with, and what the network says without it.

The parts are those of Activations, Top patches, Feature visualisation and Filters, put together for one channel as Olah et al. 2020,
doi:10.23915/distill.00024.001, look at single neurons from several sides. Without a channel means that its output is zero everywhere (Zhou et
al. 2018, arXiv:1806.02891); of tokens the prefix is left as it is. The address of the page holds layer and number, so it can be shared. Patches
are out of the pictures that come with Loupe, a small set: Top patches looks through yours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from techniques.base import (
    Gallery, Heatmap, Help, Layer, LayerName, LoadedModel, Note, ParameterError, Picture, Predictions, Range, Run, Sample, Seed, technique, torch,
    visualisation,
)  # fmt: skip
from techniques.base.activations import laid_out, rectangle, without, word_for
from techniques.base.bundled_pictures import bundled_pictures
from techniques.base.drawing.svg import percent
from techniques.base.hooks import logits_with
from techniques.base.receptive_field import Field, receptive_field
from techniques.base.strongest_patches import BATCH, Patches, gallery, look_through, strongest_places
from techniques.base.visualisation import Aim, Climb
from techniques.base.weights import filter_of, layers_with_kernels, watched, weighted_layer

STRONGEST = -1


class Answer(NamedTuple):
    where: Heatmap
    effect: Predictions
    looks_for: Gallery | None
    top_patches: Gallery | None
    weights: Gallery | None
    note: Note


@dataclass(eq=False)
class Seen:
    """One channel on one picture: the layer's maps `[C, h, w]`, the logits `[2, K]` with it and without it, and what has been found since."""

    sample: Sample
    model: LoadedModel
    layer: Layer
    number: int
    maps: torch.Tensor
    logits: torch.Tensor
    weights: Gallery | None
    field: Field | None = None
    pattern: torch.Tensor | None = None
    patches: Gallery | None = None
    pictures: int = 0

    @property
    def name(self) -> str:
        return f"{word_for(self.layer)} {self.number}"


@technique(
    title="Channel",
    family="What is inside",
    paper="doi:10.23915/distill.00024.001",
    order=14,
    limits="A channel is seldom one idea: it may answer to several, and one idea may be spread over many. That little changes without it says that "
    "others can stand in, not that it is of no use; and zero may be an output that the rest of the network has never met.",
    why_not=lambda model: None if model.layers else "none of its layers can be read.",
    pairs=False,
)
def channel(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    layer: LayerName = None,
    channel: Annotated[int, Range(STRONGEST, 65535), Help("Its number in the layer; −1 for the one that your picture excites most.")] = STRONGEST,
    patches: Annotated[int, Range(1, 25, 1, "patches"), Help("How many patches, each of another picture.")] = 9,
    steps: Annotated[int, Range(0, 512, 1, "steps"), Help("How many steps the pattern is made in; with 0 there is none.")] = Climb().steps,
    seed: Seed = 0,
) -> Answer:
    """The channel's outputs `[H, W]` in its own unit, of a vector those of all units; patches, pattern and weights; logits with it and without.

    Raises ParameterError for a channel that the layer does not have."""
    run.check()
    seen = _look(sample, model, model.layer(layer) if layer or model.default_layer else model.layers[-1], channel)
    run.show(lambda: _answer(seen))
    run.check()
    seen.field = receptive_field(model, seen.layer, run)
    samples, best = bundled_pictures(model), None
    cutter, seen.pictures = Patches(samples, seen.layer, seen.field), len(samples)
    for part in run.part(0, 2, "Patches").steps(samples.batches(BATCH), "Batch"):
        best = look_through(model, seen.layer, part.pixels, patches, best)
    told = [(samples.origins[place], model.label(int(best.said[place]))) for place in best.pictures[seen.number].tolist()]
    values = best.values[seen.number].tolist()
    seen.patches = gallery(f"{seen.layer.name}, {seen.name}", cutter.of(best, [seen.number])[0], values, told)

    def see(_step: int, pictures: torch.Tensor, _values: torch.Tensor) -> None:
        seen.pattern = pictures[0]
        run.show(lambda: _answer(seen))

    run.show(lambda: _answer(seen))
    if steps:
        visualisation.maximise(
            model, Aim.at_channels(seen.layer, [seen.number]), Climb(steps), run.part(1, 2, "Pattern"), seed=seed, see=see
        )  # fmt: skip
    return _answer(seen)


def _look(sample: Sample, model: LoadedModel, layer: Layer, number: int) -> Seen:
    """One pass as it is, and one without the channel."""
    if number >= layer.channels:
        raise ParameterError(f"Channel: received {number}, but the channels of {layer.name} are numbered from 0 to {layer.channels - 1}.")
    known = layers_with_kernels(model)
    own = weighted_layer(model, layer.name, known) if known else layer
    outputs = watched(model, {each.name: each for each in (layer, own)}, sample.pixels)
    maps = layer.maps(outputs[layer.name])[0]
    number = int(strongest_places(maps)[0].argmax()) if number == STRONGEST else number
    removed = torch.tensor(number, device=maps.device)
    before = model.valid_logits(sample.pixels)
    after = logits_with(model, layer, sample.pixels, lambda output: without(layer, output, removed))
    weights = None
    if known and own.channels == layer.channels:
        item = filter_of(model, own, outputs[own.name], sample.pixels, number)
        before_it = "" if own is layer else f", which {layer.name} follows"
        weights = Gallery((item,), (f"filter {number} of {own.name}",), scale="own", caption=f"Weights of {own.name}{before_it}")
    return Seen(sample, model, layer, number, maps, torch.cat([before, after]), weights)


def _answer(seen: Seen) -> Answer:
    names = ("as it is", f"without {seen.name}")
    effect = Predictions.of(seen.model, seen.logits, names, caption=f"What the model says with {seen.name} of {seen.layer.name} at zero")
    return Answer(_where(seen), effect, _looks_for(seen), seen.patches, seen.weights, Note(_story(seen)))


def _where(seen: Seen) -> Heatmap:
    """Its outputs over the picture; of a vector all units, row by row."""
    signed, name = bool(seen.maps.min() < 0), f"{seen.layer.name}, {seen.name}"
    if seen.layer.kind != "vector":
        values = seen.maps[seen.number].cpu().numpy()
        return Heatmap(laid_out(values, tuple(seen.sample.pixels.shape[2:])), signed=signed, caption=f"Output of {name}")
    rows, columns = rectangle(seen.layer.channels)
    row, column = divmod(seen.number, columns)
    place = f"row {row + 1} of {rows}, column {column + 1} of {columns}"
    return Heatmap(seen.maps.reshape(rows, columns).clone(), signed=signed, caption=f"All units of {seen.layer.name}; {seen.name} is in {place}")


def _looks_for(seen: Seen) -> Gallery | None:
    """What excites it in the picture, and what would excite it most."""
    if seen.field is None:
        return None
    value, place = (float(found[seen.number]) for found in strongest_places(seen.maps))
    patch = seen.field.crop(seen.sample.pixels[0, :3], divmod(int(place), seen.layer.grid[1]))
    items, names = [Picture(patch, caption=f"Patch of {seen.sample.origin}")], [f"in {seen.sample.origin}: {value:.3g}"]
    if seen.pattern is not None:
        items.append(Picture(seen.pattern[:3], caption=f"{seen.layer.name}, {seen.name}: pattern"))
        names.append("a pattern made for it")
    return Gallery(tuple(items), tuple(names), caption=f"What excites {seen.name} most in the picture, and what it looks for. {seen.field.told()}")


def _story(seen: Seen) -> str:
    """How strong it is among the channels of its layer, what becomes of the answer without it, and where the patches are from."""
    values = strongest_places(seen.maps)[0]
    rank = int((values > values[seen.number]).sum()) + 1
    shares = seen.model.shares(seen.logits)
    said, then = seen.model.predicted(seen.logits).tolist()
    label = seen.model.label(said)
    told = f"{seen.layer.name}, {seen.name}: {float(values[seen.number]):.3g} at its strongest place, number {rank} of {seen.layer.channels}. "
    told += f"Without it “{label}” goes from {percent(float(shares[0, said]))} to {percent(float(shares[1, said]))}"
    told += f", and the answer becomes “{seen.model.label(then)}”." if then != said else "; the answer stays."
    if seen.patches:
        told += f" The patches are out of {seen.pictures} pictures that come with Loupe; Top patches looks through yours."
    return told
