"""Class activation maps, for every technique that draws or uses them: which layer, which classes, and what all of them
read from one pass through the network.

The method whose maps others use, too, is Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391, section 3, equations 1 and
2: relu(sum over channels k of alpha_k * A_k), A_k the maps of a layer, alpha_k the mean over the map of the gradient of
the class logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

from model_zoo.deferred import torch
from model_zoo.errors import IncompatibleModel
from model_zoo.layers import Layer
from model_zoo.loaded import LoadedModel
from techniques.base.hooks import gradient_at, logits_from_layer, watching
from techniques.base.parameters import Help
from techniques.base.results import Browser, Heatmap, Predictions

if TYPE_CHECKING:
    from techniques.base.run import Run
    from techniques.base.sample import Sample

CLASSES = 5  # so many of the most probable classes are explained beside the one that was named

Signed = Annotated[bool, Help("Keep what speaks against the class, which the method's last step cuts off.")]

Choice = Callable[[LoadedModel, "torch.Tensor", "int | None"], "list[int]"]


class Evidence(NamedTuple):
    """What a layer answered to one picture, and how the logits of some classes depend on it.

    `maps` `[1, C, h, w]` of the layer; `gradients` `[N, C, h, w]` of the logit of each of the N `classes` at these maps; `logits`
    `[1, K]` of the picture.
    """

    layer: Layer
    classes: list[int]
    maps: torch.Tensor
    gradients: torch.Tensor
    logits: torch.Tensor


def evidence(
    sample: Sample, model: LoadedModel, run: Run, layer: str | None, target: int | None, choose: Choice | None = None
) -> Evidence:
    """At the layer of this name, or at the model's own choice, for the classes that `choose(model, logits, target)` names,
    or those of `explained`.

    One forward pass serves all classes. The layer's output is the leaf of the graph, so each class costs a backward pass
    through what follows the layer only. Where a layer is used several times, its last use is read. Raises
    IncompatibleModel for a layer without a grid, and for one that moves no logit.
    """
    chosen = layer_to_read(model, layer)
    logits, output = logits_from_layer(model, chosen.name, sample.pixels)
    classes = (choose or explained)(model, logits.detach(), target)
    gradients = [chosen.maps(gradient_at(logits[0, index], output, again=True)) for index in run.steps(classes, "Class")]
    refuse_if_still(model, chosen, gradients)
    return Evidence(chosen, classes, chosen.maps(output.detach()), torch.cat(gradients), logits.detach())


def layer_to_read(model: LoadedModel, name: str | None) -> Layer:
    """The layer of this name, or the model's own choice; raises IncompatibleModel for one that has no places."""
    chosen = model.layer(name)
    if chosen.kind == "vector":
        raise IncompatibleModel(f"The layer “{chosen.name}” has no places in the picture. Choose one that has, such as “{layer_with_places(model)}”.")
    return chosen


def maps_of_layer(sample: Sample, model: LoadedModel, layer: Layer) -> tuple[torch.Tensor, torch.Tensor]:
    """What the layer answers to the picture at its last use, as maps `[C, h, w]`, and the logits `[1, K]`, from one pass without a gradient."""
    outputs: list[torch.Tensor] = []

    def see(_name: str, output: torch.Tensor) -> None:
        outputs[:] = [output.clone()]  # what follows may add to it in place

    with torch.no_grad(), watching(model, [layer.name], see):
        logits = model.logits(sample.pixels)
    return layer.maps(outputs[0])[0], logits


def explained(model: LoadedModel, logits: torch.Tensor, target: int | None) -> list[int]:
    """The classes to explain from logits `[1, K]`: a named one first, then the most probable ones."""
    classes = logits[0, : model.named].argsort(descending=True, stable=True)[:CLASSES].tolist()
    return classes if target is None else [target] + [index for index in classes if index != target]


def refuse_if_still(model: LoadedModel, layer: Layer, changes: Sequence[torch.Tensor]) -> None:
    """Raises IncompatibleModel when none of `changes`, gradients or differences of logits, differs from zero."""
    if not any(change.any() for change in changes):
        other = "" if layer.name == layer_with_places(model) else f", such as “{layer_with_places(model)}”"
        raise IncompatibleModel(f"No place in the layer “{layer.name}” moves a logit here. Choose another layer{other}.")


def browser(
    sample: Sample, model: LoadedModel, layer: Layer, classes: Sequence[int], maps: torch.Tensor, *, signed: bool = False, unit: str = "logit"
) -> Browser:
    """One heat map of the size of the picture per class, from its map `[N, h, w]`; unless `signed`, what is below zero is cut off."""
    values = enlarged((maps if signed else maps.relu())[None], sample.pixels.shape[2:])[0]
    speaks = "speaks for or against" if signed else "speaks for"
    cells = {}
    for index, heat in zip(classes, values):
        name = class_name(model, index)
        cells[name] = Heatmap(heat, signed=signed, unit=unit, caption=f"What {speaks} “{name}” in {layer.name}{doubt(layer)}")
    return Browser(("class",), cells)


def predictions(sample: Sample, model: LoadedModel, logits: torch.Tensor) -> Predictions:
    """What the model says about the picture, from logits `[1, K]`."""
    return Predictions.of(model, logits, (sample.origin,))


def doubt(layer: Layer) -> str:
    """The end of a caption for maps that do not lie where the picture does."""
    return "" if layer.local else "; this layer keeps its places in another order, so the map is not to be read by place"


def gradient_weighted(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """The sum of equations 1 and 2 before its ReLU: `[N, h, w]` from maps `[1, C, h, w]` and the gradients `[N, C, h, w]` of N logits there."""
    return (gradients.mean((2, 3), keepdim=True) * maps).sum(1)


def enlarged(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps `[B, N, h, w]` brought bilinearly to the size of the picture `[B, N, H, W]`."""
    return torch.nn.functional.interpolate(maps, size, mode="bilinear")


def map_of_class(model: LoadedModel, layer: Layer, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """Grad-CAM's map `[H, W]` of one class for one picture `[1, C, H, W]`, in logits per cell of the layer's grid, never below zero."""
    logits, output = logits_from_layer(model, layer.name, pixels)
    gradient = gradient_at(logits[0, target], output, again=True)
    values = gradient_weighted(layer.maps(output.detach()), layer.maps(gradient)).relu()
    return enlarged(values[None], pixels.shape[2:])[0, 0]


def no_places(model: LoadedModel) -> str | None:
    """Why there are no maps of this model at all, and what to take instead; None when there are."""
    reason = has_no_places(model)
    return f"{reason}. Saliency and occlusion need none." if reason else None


def has_no_places(model: LoadedModel, layer: str | None = None) -> str | None:
    """Why there are no class maps of this layer, or with None of any layer of this model; None when there are."""
    if not model.spatial_layers():
        return "no layer of this model has places in the picture"
    chosen = layer or model.default_layer
    if chosen is None or model.layer(chosen).kind != "vector":
        return None
    return f"the layer “{chosen}” has no places in the picture"


def layer_with_places(model: LoadedModel) -> str:
    """The name of the layer to look at when nobody has chosen one that fits; the model has some that do."""
    return model.default_layer or model.spatial_layers()[-1].name


def class_name(model: LoadedModel, index: int) -> str:
    """The label; one that the model uses twice gets its number, too (ImageNet has two kinds of “crane”)."""
    label = model.label(index)
    return label if model.labels.count(label) == 1 else f"{label} ({index})"
