"""Which pixels excite the network for a class: what speaks for the class is handed back layer by layer, and only to what was active;
bright pixels take a large part in it, and none speaks against.

Deep Taylor decomposition: Montavon, Lapuschkin, Binder, Samek and Müller 2017, arXiv:1512.02479: each unit is expanded at a root
point near its input, which gives the z+ rule for hidden layers, and for pixels the z-B rule (bounded by black and white) or the
w2 rule (unbounded). Biases take no share, as in the paper, where none is above zero; so all of the logit
arrives, except where a unit was raised by its bias alone. Departures: additions and means follow z+, too; batch norms are
merged into the layer before them, or are a layer of their own; a hidden unit below zero, which the paper's ReLU networks do not
have, divides among what pulled it down; and where the logit is below zero, its size is divided, so that the map still
shows what speaks for the class.

It is a set of rules of layer-wise relevance propagation, so the same code as for `lrp` does it (`techniques.base.propagation`).
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import Heatmap, Help, LoadedModel, Note, Predictions, Run, Sample, TargetClass, technique, torch
from techniques.base.relevance import parts_of, relevance_of, without_rules
from techniques.base.relevance_rules import Rules


class Answer(NamedTuple):
    deep_taylor: Heatmap
    predictions: Predictions
    note: Note


def _why_not(model: LoadedModel) -> str | None:
    normalising = [module for module in model.network.modules() if isinstance(module, (torch.nn.LayerNorm, torch.nn.GroupNorm))]
    if normalising and not without_rules(model):
        return f"its {type(normalising[0]).__name__} lets relevance change its sign. Layer-wise relevance propagation works on it."
    return without_rules(model)


@technique(
    title="Deep Taylor decomposition",
    family="Pixels",
    paper="arXiv:1512.02479",
    order=75,
    limits="Nothing can speak against the class, so another class has much the same map (see arXiv:1912.09818): it shows where the network was "
    "active for this picture rather than what tells classes apart. Gamma in layer-wise relevance propagation keeps both signs.",
    why_not=_why_not,
)
def deep_taylor(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    pixels: Annotated[
        Literal["bounded", "unbounded"], Help("Divide among pixels by their distance from black and white, or by squared weights alone.")
    ] = "bounded",
) -> Answer:
    """Relevance of the target logit, never below zero, `[H, W]` in logits, summed over colours.

    Raises IncompatibleModel for an operation in which relevance may change its sign."""
    first = "box" if pixels == "bounded" else "squared weights"
    rules = Rules(places="same sign", dense="z-plus", first=first, sums="same sign", biases=False, one_sign=True)
    relevance = relevance_of(model, sample.pixels, target, rules, run)
    values = relevance.pixels[0].sum(0) * (1 if relevance.logit >= 0 else -1)
    label = model.label(relevance.target)
    below = "" if relevance.logit >= 0 else " It is below zero; the map divides its size among what speaks for the class nevertheless."
    return Answer(
        Heatmap(values.clamp(min=0), unit="logit", caption=f"How much each pixel takes part in “{label}”"),  # rounding falls below zero
        Predictions.of(model, relevance.logits, (sample.origin,)),
        Note(f"The logit of “{label}” is {relevance.logit:.2f}: {parts_of(relevance)}.{below}"),
    )
