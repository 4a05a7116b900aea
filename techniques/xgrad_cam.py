"""Which parts of the picture speak for a class, with the features weighted so that the map adds up to what the layer
contributes to the score.

XGrad-CAM: Fu, Hu, Dong, Guo, Gao and Li 2020, arXiv:2008.02312, section 3: the weight of a channel is the mean of its gradient over
the map, each place counted by its share of the channel's activation: sum(A * g) / sum(A). The signed map so adds up to the sum of
A * g over the layer, the part of the logit that the layer accounts for. Departures: what is below zero is kept if `signed` asks
for it; and channels whose values cancel, |sum A| below a hundredth of sum |A|, are left out, since their weight would be arbitrary
(never behind a ReLU, for which the method was made).
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Browser, LayerName, LoadedModel, Predictions, Run, Sample, TargetClass, technique, torch
from techniques.base.class_maps import Signed, browser, evidence, no_places, predictions

CANCELLED = 0.01  # a channel whose sum is smaller than this share of the sum of its sizes is left out


class Answer(NamedTuple):
    xgrad_cam: Browser
    predictions: Predictions


@technique(
    title="XGrad-CAM",
    family="Regions",
    paper="arXiv:2008.02312",
    order=40,
    limits="It is as coarse as the layer, and one weight per channel serves all of its places, so a part that matters in one place only is "
    "marked wherever the same feature lies. In layers with values of both signs the shares it builds on mean little.",
    why_not=no_places,
)
def xgrad_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
    signed: Signed = False,
) -> Answer:
    """One map `[H, W]` per class, in logits per cell of the layer's grid: a named class first, then the five most
    probable ones. Raises IncompatibleModel for a layer without a grid, and for one that moves no logit."""
    found = evidence(sample, model, run, layer, target)
    maps = (_weights(found.maps, found.gradients) * found.maps).sum(1)
    return Answer(browser(sample, model, found.layer, found.classes, maps, signed=signed), predictions(sample, model, found.logits))


def _weights(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """The weight of each channel for each class `[N, C, 1, 1]`, from maps `[1, C, h, w]` and gradients `[N, C, h, w]`."""
    total, size = maps.sum((2, 3), keepdim=True), maps.abs().sum((2, 3), keepdim=True)
    counts = total.abs() > CANCELLED * size
    return torch.where(counts, (gradients * maps).sum((2, 3), keepdim=True) / torch.where(counts, total, 1), 0)
