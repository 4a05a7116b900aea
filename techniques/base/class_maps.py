"""Gradient-weighted class activation maps, for every technique that draws or uses them.

Selvaraju et al. 2017, arXiv:1610.02391, section 3, equations 1 and 2: relu(sum over channels k of alpha_k * A_k), A_k the
maps of a layer, alpha_k the mean over the map of the gradient of the class logit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_zoo.deferred import torch
from techniques.base.hooks import gradient_at, logits_from_layer

if TYPE_CHECKING:
    from model_zoo.layers import Layer
    from model_zoo.loaded import LoadedModel


def class_map(layer: Layer, output: torch.Tensor, gradient: torch.Tensor, signed: bool = False) -> torch.Tensor:
    """Equations 1 and 2 for one class: `[B, 1, h, w]` from the layer's output and the logit's gradient there."""
    weights = layer.maps(gradient).mean((2, 3), keepdim=True)
    values = (weights * layer.maps(output)).sum(1, keepdim=True)
    return values if signed else values.relu()


def enlarged(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps `[B, N, h, w]` brought bilinearly to the size of the picture `[B, N, H, W]`."""
    return torch.nn.functional.interpolate(maps, size, mode="bilinear")


def map_of_class(model: LoadedModel, layer: Layer, pixels: torch.Tensor, target: int) -> torch.Tensor:
    """The map `[H, W]` of one class for one picture `[1, C, H, W]`, in logits per cell of the layer's grid, never below zero."""
    logits, output = logits_from_layer(model, layer.name, pixels)
    gradient = gradient_at(logits[0, target], output, again=True)
    return enlarged(class_map(layer, output.detach(), gradient), pixels.shape[2:])[0, 0]


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
