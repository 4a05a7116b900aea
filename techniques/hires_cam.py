"""Which places of one layer raise the score of a class, each place counted by its own gradient: unlike Grad-CAM it never
marks a place that the score does not depend on.

HiResCAM: Draelos and Carin 2020, arXiv:2011.08891: the sum over channels k of gradient times activation, A_k * dy/dA_k, place
by place, where Grad-CAM first averages the gradient over the map. For a network that ends with one linear layer after this one,
the map adds up to the logit less the bias. Departures: what is below zero is cut off as in Grad-CAM unless `signed` keeps it (the
sum holds for the signed map), and the same layers and classes are offered.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Browser, LayerName, LoadedModel, Predictions, Run, Sample, TargetClass, technique
from techniques.base.class_maps import Signed, browser, evidence, no_places, predictions


class Answer(NamedTuple):
    hires_cam: Browser
    predictions: Predictions


@technique(
    title="HiResCAM",
    family="Regions",
    paper="arXiv:2011.08891",
    order=20,
    limits="It is as coarse as the layer. That the marks are exactly what the score is made of holds only when nothing but a linear layer "
    "follows; for an earlier layer it says how small changes there would move the score, as every gradient does.",
    why_not=no_places,
)
def hires_cam(
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
    maps = (found.gradients * found.maps).sum(1)
    return Answer(browser(sample, model, found.layer, found.classes, maps, signed=signed), predictions(sample, model, found.logits))
