"""Which parts of the picture are enough for a class: the picture is shown through each channel of one layer as through a
stencil, and a channel counts the more, the higher the score of the class is for what is seen through it.

Score-CAM: Wang, Wang, Du, Yang, Zhang, Ding, Mardziel and Hu 2020, arXiv:1910.01279, section 3, algorithm 1: each map A_k of the
layer is enlarged to the picture, scaled to [0, 1] and multiplied with it; the weights are the softmax over the channels of the
class logits of these pictures, less that of a baseline; the map is relu(sum of weight * A_k). Departures: outside its stencil
the picture turns into `fill`, where the paper multiplies the network's input (which makes it the mean colour of the training
pictures, nearly grey); and only those channels take part whose maps vary most, `channels` of them, where the paper takes all.
A map without variation lets nothing through: its picture is `fill` alone, which is asked for once. In a layer with values below
zero each map counts from its smallest value up, as its stencil does; behind a ReLU that changes nothing.

Covered pictures go through the network in batches, channels last in memory. Where the processor multiplies bfloat16 itself, all
of them go through it in bfloat16 first; then those that weigh most once more in float32, until the error that is left, judged by
how far the two differ, is below a third of a percent of the map's maximum.
"""

from __future__ import annotations

from typing import Annotated, NamedTuple

from techniques.base import Browser, Help, LayerName, LoadedModel, Predictions, Range, Run, Sample, TargetClass, technique, torch
from techniques.base.batches import batch_size, parts
from techniques.base.class_maps import browser, enlarged, explained, layer_to_read, maps_of_layer, no_places, predictions
from techniques.base.covering import Fill, fill_pixels

WORTH_IT = 64  # with fewer pictures the second look costs more than bfloat16 saves
ERROR = 0.003  # of the map's maximum, one standard deviation of what may be left of bfloat16; three are a percent
ENOUGH = 8  # so many channels at least tell how far bfloat16 deviates


class Answer(NamedTuple):
    score_cam: Browser
    predictions: Predictions


@technique(
    title="Score-CAM",
    family="Regions",
    paper="arXiv:1910.01279",
    order=55,
    limits="A picture seen through a stencil is unlike any the network has learned from, and its colour outside the stencil counts, too: try a "
    "second fill. Often a few channels take nearly all of the weight. Every channel costs a pass through the network.",
    why_not=no_places,
)
def score_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
    fill: Fill = "grey",
    channels: Annotated[int, Range(16, 4096, 16, "channels"), Help("How many of the layer's channels take part, those that vary most.")] = 512,
) -> Answer:
    """One map `[H, W]` per class, never below zero, a weighted mean of the layer's activations: a named class first, then the five
    most probable ones. Raises IncompatibleModel for a layer without a grid."""
    chosen = layer_to_read(model, layer)
    maps, logits = maps_of_layer(sample, model, chosen)
    classes = explained(model, logits, target)
    filling = fill_pixels(fill, sample.pixels)
    maps = maps - maps.amin((1, 2), keepdim=True).clamp(max=0)
    spread = maps.amax((1, 2)) - maps.amin((1, 2))
    order = spread.argsort(descending=True)[: min(channels, int(spread.gt(0).sum()))]
    scores = Scores(sample, model, filling, maps, classes, run)
    scores.baseline(spread == 0)

    def answer() -> Answer:
        shown = browser(sample, model, chosen, classes, scores.maps(), unit="activation")
        return Answer(shown, predictions(sample, model, logits))

    halved = len(order) >= WORTH_IT and multiplies_bfloat16(sample.pixels.device)
    for number, part in enumerate(run.steps(parts(order, batch_size(model)), "Batch of stencils")):
        scores.look(part, halved)
        if number & (number + 1) == 0:  # after one, two, four ... batches
            run.show(answer)
    if halved:
        scores.refine(order, min(ENOUGH, batch_size(model)))
    return answer()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the processor has instructions for it; without them bfloat16 is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


class Scores:
    """The logits of N classes for the picture seen through each channel, `[C, N]`; -inf for a channel that takes no part."""

    def __init__(self, sample: Sample, model: LoadedModel, filling: torch.Tensor, channels: torch.Tensor, classes: list[int], run: Run):
        self.model, self.pixels, self.filling, self.channels, self.classes, self.run = model, sample.pixels, filling, channels, classes, run
        self.logits = torch.full((len(channels), len(classes)), -torch.inf, device=channels.device)

    def maps(self) -> torch.Tensor:
        """The weighted mean of the channels for each class `[N, h, w]`."""
        return torch.einsum("kn,khw->nhw", self.logits.softmax(0), self.channels)

    def baseline(self, still: torch.Tensor) -> None:
        """Give the channels `still`, bool `[C]`, the logits of the filling alone."""
        with torch.no_grad():
            self.logits[still] = self.model.logits(self.filling)[:, self.classes]

    def look(self, part: torch.Tensor, halved: bool = False) -> None:
        """Fill in the logits of some channels, by number `[B]`, in bfloat16 if `halved`."""
        stencils = enlarged(self.channels[part, None], self.pixels.shape[2:])
        low, high = stencils.amin((2, 3), keepdim=True), stencils.amax((2, 3), keepdim=True)
        seen = torch.lerp(self.filling, self.pixels, (stencils - low) / (high - low)).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(seen.device.type, torch.bfloat16, enabled=halved):
            self.logits[part] = self.model.logits(seen).float()[:, self.classes]

    def refine(self, order: torch.Tensor, size: int) -> None:
        """Look again in float32, at what weighs most for any class first, until the error that is left is small."""
        weights = self.logits.softmax(0).amax(1)
        order = order[weights[order].argsort(descending=True, stable=True)]
        rough, exact = self.logits.clone(), torch.zeros_like(weights, dtype=torch.bool)
        for part in parts(order, size):
            self.run.check()
            self.look(part)
            exact[part] = True
            others, difference = order[~exact[order]], (self.logits - rough)[exact]
            self.logits[others] = rough[others] + difference.mean(0)
            if len(difference) >= ENOUGH and self._left(difference.std(0), others) < ERROR:
                break

    def _left(self, deviation: torch.Tensor, rough: torch.Tensor) -> float:
        """The error of the maps, as a share of each class's maximum, when the logits of the channels `rough` deviate so far `[N]`."""
        weights = self.logits.softmax(0)[rough] * deviation
        error = torch.einsum("kn,khw->nhw", weights**2, self.channels[rough] ** 2).sqrt().amax((1, 2))
        most = self.maps().relu().amax((1, 2))
        return float((error / most.clamp(min=torch.finfo(most.dtype).tiny)).amax())
