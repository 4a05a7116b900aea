"""What a channel stands for, shown by examples: of all your pictures the patches that excite it most, each as large as what the channel has
seen there.

The strongest places of a channel over a set of pictures, one of each picture: Zeiler and Fergus 2014, arXiv:1311.2901, figure 2. They show
beside each what the channel answered to, projected back; here a patch is cut out of the picture, as large as the effective receptive field
(Luo et al. 2016, arXiv:1701.04128), measured in `techniques.base.receptive_field`. Grey is what lies beyond the border of a picture. A
linear layer over the whole picture has a unit for each channel, and its patches are whole pictures. Memory does not grow with the number of
pictures: each is seen once, and once more if a patch is cut out of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from techniques.base import (
    Browser, Gallery, Help, LayerName, LoadedModel, Note, ParameterError, Range, Run, Samples, Stack, technique,
)  # fmt: skip
from techniques.base.activations import word_for
from techniques.base.receptive_field import receptive_field
from techniques.base.strongest_patches import BATCH, Best, Patches, gallery, look_through


class Answer(NamedTuple):
    channels: Browser
    note: Note


@technique(
    title="Top patches",
    family="What is inside",
    paper="arXiv:1311.2901",
    order=16,
    limits="It is what your pictures have to offer: what the channel would like better and no picture shows, you do not see. Patches that look "
    "alike to you need not be alike in what the channel reads, and the strongest few say nothing of all the others that it answers to as well.",
    why_not=lambda model: None if model.layers else "none of its layers can be read.",
)
def top_patches(
    samples: Samples,
    model: LoadedModel,
    run: Run,
    *,
    layer: LayerName = None,
    pick: Annotated[Literal["strongest", "in order"], Help("The channels whose patches excite them most, or channels by number.")] = "strongest",
    first: Annotated[int, Range(0, 65535), Help("The number of the first channel, where they come in order.")] = 0,
    count: Annotated[int, Range(1, 64, 1, "channels"), Help("How many channels.")] = 16,
    patches: Annotated[int, Range(1, 25, 1, "patches"), Help("How many patches of each channel, each of another picture.")] = 9,
) -> Answer:
    """Patches `[C, h, w]` in [0, 1], the strongest first, with the output there in the unit of the layer.

    Raises ParameterError for an empty set, and for a first channel that the layer does not have."""
    run.check()
    chosen = model.layer(layer) if layer or model.default_layer else model.layers[-1]
    if not len(samples):
        raise ParameterError("Top patches takes pictures to look through; received none. Add some, for example at random out of a data set.")
    if pick == "in order" and first >= chosen.channels:
        raise ParameterError(f"First: received {first}, but the channels of {chosen.name} are numbered from 0 to {chosen.channels - 1}.")
    cutter, best = Patches(samples, chosen, receptive_field(model, chosen, run)), None

    def answer() -> Answer:
        channels = best.order[:count].tolist() if pick == "strongest" else list(range(first, chosen.channels))[:count]
        shown = _stack(model, cutter, best, channels)
        browser = Browser(("channel",), shown, caption=f"Patches that excite the {word_for(chosen)}s of {chosen.name} most")
        return Answer(browser, Note(_story(cutter, best, channels, pick == "strongest")))

    for part in run.steps(samples.batches(BATCH), "Batch"):
        best = look_through(model, chosen, part.pixels, patches, best)
        run.show(answer)
    return answer()


def _stack(model: LoadedModel, cutter: Patches, best: Best, channels: Sequence[int]) -> Stack:
    cut, rows, origins = cutter.of(best, channels), best.values.new_tensor(channels).long(), cutter.samples.origins
    pictures = best.pictures[rows]
    told = {number: (origins[number], model.label(int(best.said[number]))) for number in pictures.unique().tolist()}
    stacked = {"patches": cut, "activation": best.values[rows], "picture": pictures, "strongest": cut[:, 0]}
    names = tuple(f"{word_for(cutter.layer)} {channel}" for channel in channels)
    return Stack(names, stacked, partial(_cell, cutter.layer.name, told), "strongest")


def _cell(layer: str, told: Mapping[int, tuple[str, str]], name: str, entry: Mapping[str, Any]) -> Gallery:
    """The patches of a channel; `told` says of each picture what it is called and what the model sees in it."""
    values, numbers = entry["activation"].tolist(), entry["picture"].tolist()
    return gallery(f"{layer}, {name}", entry["patches"], values, [told[number] for number in numbers])


def _story(cutter: Patches, best: Best, channels: Sequence[int], ranked: bool) -> str:
    """Which channels out of what, what a patch is, and which of the channels nothing excites."""
    layer, seen, total = cutter.layer, len(best.said), len(cutter.samples)
    which = "the strongest on average first" if ranked else "by number"
    of = f"{total} pictures" if seen == total else f"{seen} of {total} pictures"
    told = f"{len(channels)} of the {layer.channels} {word_for(layer)}s of {layer.name}, {which}, over {of}. {cutter.seen.told()}"
    silent = [str(channel) for channel in channels if float(best.values[channel, 0]) <= 0]
    if silent:
        told += f" No picture excites {word_for(layer)}{'s' * (len(silent) > 1)} {', '.join(silent)} above zero."
    return told
