"""Which parts of the picture speak for a class, at the coarse resolution of one layer: bright where features lie that
raise the score of the class.

Gradient-weighted class activation mapping: Selvaraju et al. 2017, arXiv:1610.02391, section 3, equations 1 and 2:
relu(sum over channels k of alpha_k * A_k), A_k the maps of the layer, alpha_k the mean over the map of the gradient of
the class logit. Departures: any layer may be chosen, token layers of transformers too, their patches laid out as maps
(prefix tokens left out); the final ReLU can be left away, which keeps what speaks against the class. Maps are enlarged
bilinearly to the picture and not normalised: classes can be compared by their numbers.

One forward pass serves all classes. The layer's output is the leaf of the graph, so each class costs a backward
pass through what follows the layer only. Where a layer is used several times, its last use is explained.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Browser, LayerName, LoadedModel, Predictions, Run, Sample, TargetClass, technique
from techniques.base.class_maps import Signed, browser, evidence, gradient_weighted, no_places, predictions


class Answer(NamedTuple):
    grad_cam: Browser
    predictions: Predictions


@technique(
    title="Grad-CAM",
    family="Regions",
    paper="arXiv:1610.02391",
    order=10,
    limits="It is as coarse as the layer: a map of 7 x 7 cells, enlarged, has no sharp edges. It averages gradients over the map, "
    "so an object that appears twice or a part that matters only in one place may be missed, and it shows what is "
    "present in the layer, not what would happen if it were gone; cover the region to find out.",
    why_not=no_places,
)
def grad_cam(
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
    maps = gradient_weighted(found.maps, found.gradients)
    return Answer(browser(sample, model, found.layer, found.classes, maps, signed=signed), predictions(sample, model, found.logits))
