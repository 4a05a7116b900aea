"""Which parts of the picture speak for a class, where small and repeated objects count as much as one large one: bright where
features lie whose growth would raise the score.

Grad-CAM++: Chattopadhay, Sarkar, Howlader and Balasubramanian 2018, arXiv:1710.11063, equation 19: the weight of a channel is the
sum over its map of alpha * relu(g), with alpha = g^2 / (2 g^2 + sum of A * g^3) where g is the gradient of the class logit; the map
is relu(sum of weight * A). Departures: the paper explains exp(logit), which only multiplies the map of a class by one number, so it
is left out and maps of classes can be compared; and the sum of A in alpha counts values above zero only, which changes nothing
behind a ReLU, for which the formula was made, and keeps alpha from running to infinity elsewhere (token layers, batch norms).
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Browser, LayerName, LoadedModel, Predictions, Run, Sample, TargetClass, technique, torch
from techniques.base.class_maps import browser, evidence, no_places, predictions


class Answer(NamedTuple):
    grad_cam_plus_plus: Browser
    predictions: Predictions


@technique(
    title="Grad-CAM++",
    family="Regions",
    paper="arXiv:1710.11063",
    order=30,
    limits="It knows no features that speak against a class: only positive gradients count. It is as coarse as the layer, and often much "
    "alike for different classes; compare it with the map of another class before you believe it explains this one.",
    why_not=no_places,
)
def grad_cam_plus_plus(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
) -> Answer:
    """One map `[H, W]` per class, in logits per cell of the layer's grid, never below zero: a named class first, then the
    five most probable ones. Raises IncompatibleModel for a layer without a grid, and for one that moves no logit."""
    found = evidence(sample, model, run, layer, target)
    maps = (_weights(found.maps, found.gradients) * found.maps).sum(1)
    return Answer(browser(sample, model, found.layer, found.classes, maps), predictions(sample, model, found.logits))


def _weights(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """The weight of each channel for each class `[N, C, 1, 1]`, from maps `[1, C, h, w]` and gradients `[N, C, h, w]`.

    Where the gradient is positive, g^2 / (2 g^2 + a g^3) * g is g / (2 + a g): nothing is divided by zero.
    """
    total = maps.relu().sum((2, 3), keepdim=True)
    positive = gradients.relu()
    return (positive / (2 + total * positive)).sum((2, 3), keepdim=True)
