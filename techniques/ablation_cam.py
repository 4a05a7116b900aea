"""Which parts of the picture hold features without which the score of a class falls: each channel of one layer is switched
off in turn, and counts as much as the score loses.

Ablation-CAM: Desai and Ramaswamy 2020, WACV, section 3: relu(sum over channels k of w_k * A_k) with w_k = (y - y_k) / y, y_k the
class score with all of A_k set to zero. Departures: w_k is the plain difference y - y_k, since dividing by y changes the map by a
factor only, turns its sign where the logit is below zero, and keeps maps of classes from being compared; prefix tokens of a
transformer, which have no place, keep their channels; and zero is zero in layers with values below zero, too, as in the
paper (pytorch-grad-cam puts a large negative number there).

Only what follows the layer runs once per channel: the network is run on one picture, and where the layer answers, one version
per channel goes on (`torch.func.vmap`, which keeps apart what belongs to one version and what to all of them). Two channels
are compared with whole passes first; where they differ, or a network cannot be run so, all channels take whole passes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

from techniques.base import Browser, Layer, LayerName, LoadedModel, Predictions, Run, Sample, TargetClass, technique, torch
from techniques.base.activations import without
from techniques.base.batches import batch_size, parts
from techniques.base.class_maps import Signed, browser, explained, layer_to_read, maps_of_layer, no_places, predictions, refuse_if_still
from techniques.base.hooks import logits_with

SAME = 1e-4  # of the largest logit: two float32 passes whose sums run in another order differ by less
STILL = 2e-6  # of the largest logit: so much one number in float32 may differ when it is computed among others


class Answer(NamedTuple):
    ablation_cam: Browser
    predictions: Predictions


@technique(
    title="Ablation-CAM",
    family="Regions",
    paper="Desai and Ramaswamy 2020, WACV",
    order=60,
    limits="It is as coarse as the layer. Channels are switched off one at a time: two that stand for the same thing cover for each other, "
    "and neither seems to matter. A layer with one channel at zero may be unlike anything the network has learned from.",
    why_not=no_places,
)
def ablation_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
    signed: Signed = False,
) -> Answer:
    """One map `[H, W]` per class, in logits times the layer's activation: a named class first, then the five most probable ones.

    Raises IncompatibleModel for a layer without a grid, and for one that moves no logit.
    """
    chosen = layer_to_read(model, layer)
    maps, logits = maps_of_layer(sample, model, chosen)
    classes = explained(model, logits, target)
    drops = logits.new_zeros(len(maps), len(classes))

    def answer() -> Answer:
        weighted = torch.einsum("kn,khw->nhw", drops, maps)
        unit = "logit × activation"
        return Answer(browser(sample, model, chosen, classes, weighted, signed=signed, unit=unit), predictions(sample, model, logits))

    strength = maps.abs().sum((1, 2))
    live = strength.argsort(descending=True)[: int(strength.gt(0).sum())]  # strong ones first: they shape the first pictures
    run.check()
    ablated, size = _way(model, chosen, sample.pixels, live[:2])
    for number, channels in enumerate(run.steps(parts(live, size), "Batch of channels")):
        drops[channels] = (logits - ablated(channels))[:, classes]
        if number & (number + 1) == 0:  # after one, two, four ... batches
            run.show(answer)
    refuse_if_still(model, chosen, [drops.abs() > STILL * logits.abs().amax()])
    return answer()


Ablated = Callable[["torch.Tensor"], "torch.Tensor"]


def _way(model: LoadedModel, layer: Layer, pixels: torch.Tensor, probe: torch.Tensor) -> tuple[Ablated, int]:
    """A function from channels `[B]` to the logits `[B, K]` without each of them, tried on two channels, and how many it may take at once."""

    def end_only(channels: torch.Tensor) -> torch.Tensor:
        return torch.func.vmap(lambda channel: logits_with(model, layer, pixels, lambda output: without(layer, output, channel))[0])(channels)

    def whole(channels: torch.Tensor) -> torch.Tensor:
        return logits_with(model, layer, pixels.expand(len(channels), -1, -1, -1), lambda output: without(layer, output, channels))

    warnings.filterwarnings("ignore", message="There is a performance drop because we have not yet implemented the batching rule")
    if len(probe):
        expected = whole(probe)
        try:
            if torch.allclose(end_only(probe), expected, rtol=0, atol=SAME * float(expected.abs().amax())):
                return end_only, batch_size(model, after=layer)
        except RuntimeError:  # it writes a version into memory that all of them share, or asks for a number
            pass
    return whole, batch_size(model)
