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

from typing import Annotated, NamedTuple

from techniques.base import (
    Browser, Heatmap, Help, IncompatibleModel, LayerName, LoadedModel, Predictions, Run, Sample, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.class_maps import class_map, class_name, enlarged, layer_with_places
from techniques.base.hooks import gradient_at, logits_from_layer

CLASSES = 5  # so many of the most probable classes are explained beside the one that was named


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
    why_not=lambda model: None if model.spatial_layers() else "no layer of this model has places in the picture. Saliency and occlusion need none.",
)
def grad_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
    signed: Annotated[bool, Help("Keep what speaks against the class, which the method's last step cuts off.")] = False,
) -> Answer:
    """One map `[H, W]` per class, in logits per cell of the layer's grid: a named class first, then the five most
    probable ones. Raises IncompatibleModel for a layer without a grid, and for one that moves no logit."""
    chosen = model.layer(layer)
    if chosen.kind == "vector":
        raise IncompatibleModel(f"The layer “{chosen.name}” has no places in the picture. Choose one that has, such as “{layer_with_places(model)}”.")
    logits, output = logits_from_layer(model, chosen.name, sample.pixels)
    classes = logits[0, : model.named].argsort(descending=True, stable=True)[:CLASSES].tolist()
    if target is not None:
        classes = [target] + [index for index in classes if index != target]
    gradients = [gradient_at(logits[0, index], output, again=True) for index in run.steps(classes, "Class")]
    if not any(chosen.maps(gradient).any() for gradient in gradients):
        other = "" if chosen.name == layer_with_places(model) else f", such as “{layer_with_places(model)}”"
        raise IncompatibleModel(f"No place in the layer “{chosen.name}” moves a logit here. Choose another layer{other}.")
    maps = [class_map(chosen, output.detach(), gradient, signed) for gradient in gradients]
    maps = enlarged(torch.cat(maps, 1), sample.pixels.shape[2:])[0]
    speaks = "speaks for or against" if signed else "speaks for"
    doubt = "" if chosen.local else "; this layer keeps its places in another order, so the map is not to be read by place"
    cells = {
        name: Heatmap(values, signed=signed, unit="logit", caption=f"What {speaks} “{name}” in {chosen.name}{doubt}")
        for name, values in zip([class_name(model, index) for index in classes], maps)
    }
    return Answer(Browser(("class",), cells), Predictions.of(model, logits, (sample.origin,)))
