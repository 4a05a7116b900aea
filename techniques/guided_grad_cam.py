"""Fine lines of the picture inside the regions that speak for a class: guided backpropagation, kept only where Grad-CAM
is bright.

Guided Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391, section 3.2: the guided gradient times the enlarged map of
Grad-CAM, pixel by pixel. Departures: neither factor is normalised, so the numbers of two classes can be compared; the
colour channels become one number as in Saliency, and the picture in colour, as in the paper, follows. The rule for
activations that are not ReLU is that of guided backpropagation (`techniques.base.rectifiers`). Where no layer is named and
nothing in the model's own choice speaks for the class, the last layer before it in which something does is taken, and named.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import (
    Heatmap, IncompatibleModel, Layer, LayerName, LoadedModel, Note, Picture, Run, Sample, TargetClass, technique, torch,
)  # fmt: skip
from techniques.base.class_maps import has_no_places, layer_with_places, map_of_class
from techniques.base.colour_channels import Channels, in_colour, one_channel
from techniques.base.rectifiers import no_rectifier, rectified_gradient


class Answer(NamedTuple):
    guided_grad_cam: Heatmap
    in_colour: Picture | None
    grad_cam: Heatmap
    note: Note


def _why_not(model: LoadedModel) -> str | None:
    if not model.spatial_layers():
        return "no layer of this model has places in the picture. Saliency and occlusion need none."
    return no_rectifier(model)


@technique(
    title="Guided Grad-CAM",
    family="Pixels",
    paper="arXiv:1610.02391",
    order=52,
    limits="Its regions are Grad-CAM's and can be trusted as far as that; its lines are guided backpropagation's, which redraws edges of the picture "
    "whatever the network has learned. That a line lies inside a region does not say that it mattered.",
    why_not=_why_not,
)
def guided_grad_cam(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    layer: LayerName = None,
    channels: Channels = "max",
) -> Answer:
    """Unsigned map `[H, W]`, the size of the guided gradient times Grad-CAM, in squared logits per unit of intensity; the same in
    colour, signed `[C, H, W]`; and Grad-CAM alone. Raises IncompatibleModel where the network calls no rectifier, for a
    layer without places, and where nothing in it speaks for the class."""
    run.check()
    missing = has_no_places(model, layer)
    if missing:
        raise IncompatibleModel(f"Guided Grad-CAM needs places: {missing}. Choose one that has, such as “{layer_with_places(model)}”.")
    found = rectified_gradient(model, sample.pixels, target, "guided")
    label = model.label(found.target)
    chosen, regions = _regions(model, layer or layer_with_places(model), sample.pixels, found.target, run, others=layer is None)
    product = found.gradient[0] * regions
    doubt = "" if chosen.local else f"The layer {chosen.name} keeps its places in another order, so the map is not to be read by place. "
    return Answer(
        Heatmap(
            one_channel(product.abs(), channels),
            unit="logit² per unit of intensity",
            caption=f"Size of the guided gradient where {chosen.name} speaks for “{label}”, whichever sign it has",
        ),
        in_colour(product, "The same in colour: brighter than grey is positive"),
        Heatmap(regions, unit="logit", caption=f"Grad-CAM: what speaks for “{label}” in {chosen.name}"),
        Note(doubt + found.told),
    )


def _regions(model: LoadedModel, name: str, pixels: torch.Tensor, target: int, run: Run, others: bool) -> tuple[Layer, torch.Tensor]:
    """The named layer and Grad-CAM's map `[H, W]` of it; with `others`, of the last one before it whose map is not empty."""
    layers = model.spatial_layers()
    position = [layer.name for layer in layers].index(name)
    for layer in layers[position::-1] if others else [layers[position]]:
        run.check()
        regions = map_of_class(model, layer, pixels, target)
        if regions.any():
            return layer, regions
    label = model.label(target)
    raise IncompatibleModel(f"Nothing in the layer “{name}” speaks for “{label}” here, so no line is kept. Choose another layer or class.")
