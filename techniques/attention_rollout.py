"""From which patches of the picture attention carries something all the way to the end of a transformer, through all of its
layers.

Attention rollout: Abnar and Zuidema 2020, arXiv:2005.00928, section 3: in each layer the attention, averaged over the heads, and the
residual connection count half each, 0.5 A + 0.5 I; the product of these matrices over the layers says how much of each token at
the start is in each token at the end. Departures: the heads may be joined by their maximum or minimum, rows then scaled to add
up to one (their mean does so by itself); and a network without a class token is seen from the mean of its patches, which is
what its head reads.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import Browser, Heatmap, Help, IncompatibleModel, LoadedModel, Predictions, Run, Sample, technique, torch
from techniques.base.attention import Attention, attending, attention_of, has_class_token, of_whole_pictures, why_no_attention
from techniques.base.class_maps import enlarged, predictions


class Answer(NamedTuple):
    rollout: Heatmap
    up_to_layer: Browser
    predictions: Predictions


def why_not(model: LoadedModel) -> str | None:
    missing = why_no_attention(model)
    if missing:
        return missing
    whole = of_whole_pictures(model)
    shapes = {layer.shape[0] for layer in model.layers if layer.name in whole}
    if len(whole) < len(attending(model)) or len(shapes) > 1:
        return "not all of its attention layers look from every place to every other on one grid, so they cannot be multiplied. See Attention maps."
    return None


@technique(
    title="Attention rollout",
    family="Regions",
    paper="arXiv:2005.00928",
    order=75,
    limits="It follows attention and the residual connections only: what the values and the layers between do is left out, so a patch that "
    "is read but ignored looks as important as one that decides. It knows no classes: it is the same for every one of them.",
    why_not=why_not,
)
def attention_rollout(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    heads: Annotated[Literal["mean", "max", "min"], Help("How the heads of a layer become one; the paper takes their mean.")] = "mean",
) -> Answer:
    """A map `[H, W]`, the share of each patch in what the head reads, through all layers, and through the first ones up to each.

    Raises IncompatibleModel when the layers do not look at the same tokens.
    """
    run.check()
    layers, count, logits = attention_of(model, sample.pixels)
    run.check()
    if len(layers) < count or not layers[0].alike(layers):
        raise IncompatibleModel(f"The attention layers of {model.title} do not all look at the same tokens. Choose Attention maps.")
    from_class_token = has_class_token(model)
    cells = {}
    for layer, mixed in zip(layers, rollout(layers, heads)):
        row = mixed[:1] if from_class_token else mixed[layer.prefix :].mean(0, keepdim=True)
        values = enlarged(layer.places(row)[None], sample.pixels.shape[2:])[0, 0]
        who = "the class token" if from_class_token else "the mean of the patches"
        cells[layer.layer] = Heatmap(values, unit="share per patch", caption=f"What each patch gives to {who} up to {layer.layer}")
    return Answer(cells[layers[-1].layer], Browser(("layer",), cells), predictions(sample, model, logits))


def rollout(layers: list[Attention], heads: str = "mean") -> list[torch.Tensor]:
    """For each layer how much of each token at the start `[tokens, tokens]` is in each token behind it; rows add up to one."""
    found: list[torch.Tensor] = []
    for layer in layers:
        joined = {"mean": layer.weights.mean, "max": layer.weights.amax, "min": layer.weights.amin}[heads](0)
        mixed = 0.5 * joined + 0.5 * torch.eye(len(joined), device=joined.device)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        found.append(mixed @ found[-1] if found else mixed)
    return found
