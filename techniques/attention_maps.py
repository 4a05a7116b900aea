"""Where a transformer's patches get what they know from: for each layer and each head, how much of its attention goes to
each place of the picture.

Multi-head attention: Vaswani et al. 2017, arXiv:1706.03762, section 3.2; of patches of a picture: Dosovitskiy et al. 2021,
arXiv:2010.11929; one map per head, seen from the class token: Caron et al. 2021, arXiv:2104.14294, figure 1. The weights are those
that the network uses, after its own norms, rotations and position biases. They are shares of one; what goes to prefix tokens
(class, distillation, registers) is told beside the map, and missing from it. Networks without a class token, and `all patches`,
show the mean over all patches that look.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

from techniques.base import Browser, Heatmap, Help, LoadedModel, Note, Predictions, Run, Sample, Stack, technique, torch
from techniques.base.attention import Attention, attention_of, has_class_token, why_no_attention
from techniques.base.class_maps import enlarged, predictions

ALL = "all heads"


class Answer(NamedTuple):
    last_layer: Heatmap
    by_layer: Browser
    note: Note
    predictions: Predictions


@technique(
    title="Attention maps",
    family="Regions",
    paper="arXiv:1706.03762",
    order=70,
    limits="Attention says where a layer reads, not what it makes of it nor whether that decides: it knows no classes, later layers mix what "
    "earlier ones have moved between places, and some heads park their attention on empty background.",
    why_not=why_no_attention,
)
def attention_maps(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    seen_from: Annotated[
        Literal["class token", "all patches"], Help("Whose attention it is: that of the class token, where there is one, or the mean of all patches.")
    ] = "class token",
) -> Answer:
    """Maps `[H, W]`, shares of attention: the mean over the heads of the last layer, and every layer and head by itself.

    Raises IncompatibleModel when no layer looks over all places of the picture.
    """
    run.check()
    layers, count, logits = attention_of(model, sample.pixels)
    run.check()
    by_class_token = seen_from == "class token" and has_class_token(model)
    who = "the class token" if by_class_token else "the patches, on average"
    cells, outside = {}, {}
    for layer in layers:
        rows = layer.weights[:, 0] if by_class_token or layer.weights.shape[1] == 1 else layer.weights[:, layer.prefix :].mean(1)
        rows = torch.cat([rows.mean(0, keepdim=True), rows])
        names = (ALL, *(f"head {number}" for number in range(1, len(rows))))
        make = partial(_cell, layer.layer, who, tuple(sample.pixels.shape[2:]))
        cells[layer.layer] = Stack(names, {"attention": layer.places(rows)}, make)
        outside[layer.layer] = float(rows[0, : layer.prefix].sum())
    last = cells[layers[-1].layer][ALL]
    return Answer(last, Browser(("layer", "head"), cells), _note(layers, count, outside), predictions(sample, model, logits))


def _cell(layer: str, who: str, size: tuple[int, int], head: str, entry: Mapping[str, Any]) -> Heatmap:
    """One head's map `[H, W]` from its places `[h, w]`, as a tensor during the run and as an array after it."""
    places = entry["attention"]
    values = enlarged(torch.as_tensor(places)[None, None], size)[0, 0]
    caption = f"Where {who} look{'s' if who == 'the class token' else ''} in {layer}, {head}"
    return Heatmap(values if isinstance(places, torch.Tensor) else values.numpy(), unit="share of attention per patch", caption=caption)


def _note(layers: list[Attention], count: int, outside: dict[str, float]) -> Note:
    """Which layers are shown, and how much of the attention the maps leave out."""
    told = [f"{len(layers)} of {count} attention layers look over all places of the picture." if len(layers) < count else ""]
    if layers[-1].prefix:
        most = max(outside, key=outside.get)
        told.append(
            f"To tokens without a place go {100 * outside[layers[-1].layer]:.0f} % of the attention in the last layer, {layers[-1].layer}, "
            f"and at most {100 * outside[most]:.0f} %, in {most}."
        )
    return Note(" ".join(filter(None, told)) or "Each map adds up to one over the patches: no token without a place takes a share.")
