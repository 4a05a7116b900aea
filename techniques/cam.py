"""Which parts of the picture the score of a class is made of, exactly: for a network that averages its last maps and weighs
the averages, the mean of this map is the score, but for the bias.

Class activation mapping: Zhou, Khosla, Lapedriza, Oliva and Torralba 2016, arXiv:1512.04150, section 2, equation 2: the sum over
channels k of w_k * A_k, with A_k the maps before global average pooling and w_k the weights of the class in the linear layer after
it. A network that ends with one map per class and averages these (as SqueezeNet) has its class activation maps ready made.
The weights are read as the gradient of the logit at the maps, times the number of places: that is w_k itself, also where a head
with one logit is read as two classes. Departure: what is below zero is cut off unless `signed` keeps it, as in the methods that
came after it; the mean is that of the signed map.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Browser, IncompatibleModel, LoadedModel, Predictions, Run, Sample, TargetClass, technique, torch
from techniques.base.class_maps import Evidence, Signed, browser, evidence, predictions

SAME = 1e-3  # relative difference below which two float32 numbers that were summed in another order are the same


class Answer(NamedTuple):
    cam: Browser
    predictions: Predictions


def averaged_layer(model: LoadedModel) -> str | None:
    """The name of the layer whose mean over the places a linear head receives, or is the class scores itself; None when there is none."""
    if model.pooled_layer:
        return model.pooled_layer
    last = next((layer for layer in reversed(model.layers) if layer.kind != "vector" or layer.weighted), None)
    scores = (model.named, 1) if model.classes == 2 else (model.named,)
    return last.name if last and last.kind == "spatial" and last.channels in scores else None


def why_not(model: LoadedModel) -> str | None:
    if averaged_layer(model):
        return None
    if not model.spatial_layers():
        return "no layer of this model has places in the picture. Saliency and occlusion need none."
    return "it needs a network that averages its last maps and hands them to one linear layer, and this one does not. Grad-CAM works without."


@technique(
    title="CAM",
    family="Regions",
    paper="arXiv:1512.04150",
    order=15,
    limits="It is as coarse as the last maps, and each place of them has seen much more of the picture than the cell it is drawn in. It says "
    "what the score is made of, not what would happen if a part of the picture were gone; cover the region to find out.",
    why_not=why_not,
)
def cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    signed: Signed = False,
) -> Answer:
    """One map `[H, W]` per class, in logits: a named class first, then the five most probable ones.

    Raises IncompatibleModel when the scores turn out to depend on more than the mean of the maps.
    """
    found = evidence(sample, model, run, averaged_layer(model), target)
    _refuse_other_than_mean(model, found)
    maps = (found.gradients * found.maps.shape[2:].numel() * found.maps).sum(1)
    return Answer(browser(sample, model, found.layer, found.classes, maps, signed=signed), predictions(sample, model, found.logits))


def _refuse_other_than_mean(model: LoadedModel, found: Evidence) -> None:
    """The weights must be the same at all places; and a map per class must average to the logit, as no bias follows it."""
    size = found.gradients.abs().amax()
    even = bool((found.gradients.amax((2, 3)) - found.gradients.amin((2, 3)) <= SAME * size).all())
    sums, logits = (found.gradients * found.maps).sum((1, 2, 3)), found.logits[0, found.classes]
    if not even or not (model.pooled_layer or torch.allclose(sums, logits, rtol=SAME, atol=SAME * float(logits.abs().amax()))):
        raise IncompatibleModel(f"The scores of {model.title} depend on more than the mean of the maps in “{found.layer.name}”. Choose Grad-CAM.")
