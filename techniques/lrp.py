"""Which pixels the score of a class is made of: the logit is handed back layer by layer, each unit dividing what it got among
what it was fed with; red pixels add to the class, blue ones take away.

Layer-wise relevance propagation: Bach et al. 2015, doi:10.1371/journal.pone.0130140; rules and their order as in Montavon et al.
2019, "Layer-Wise Relevance Propagation: An Overview", sections 10.2 and 10.3. The defaults are the composite they recommend
for lower layers: gamma on convolutions, proportional on dense layers, box on pixels. Kohlbrenner et al. 2020, arXiv:1910.09840, use
alpha-beta or z-plus, and flat. Departures: epsilon is a share of what a layer puts out, so that it means the same in each layer;
gamma is generalised to outputs below zero; batch norms are merged into the layer before them or, where there is none, are
a layer of their own; a dense layer on every patch counts as a convolution. How gates, attention and layer norms are
treated is told in `techniques.base.propagation`.

Own code, as zennit's hooks see modules only: it agrees with zennit where that has all it needs (a test says so), but an addition
of two tensors or a functional activation needs a description of the architecture there, and timm's have none.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import Curve, Heatmap, Help, LoadedModel, Note, Predictions, Range, Run, Sample, TargetClass, technique, torch
from techniques.base.relevance import parts_of, relevance_of, without_rules
from techniques.base.relevance_rules import Rules


class Answer(NamedTuple):
    lrp: Heatmap
    conservation: Curve
    predictions: Predictions
    note: Note


@technique(
    title="Layer-wise relevance propagation",
    family="Pixels",
    paper="doi:10.1371/journal.pone.0130140",
    order=70,
    limits="It says how a sum was divided by the chosen rules, not what would happen without a pixel; other rules give other maps. "
    "The smoother a rule makes the map, the less it differs between classes (see arXiv:1912.09818): compare two classes before you believe it. "
    "What biases keep is in no pixel; the note says how much that is.",
    why_not=without_rules,
)
def lrp(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    rule: Annotated[
        Literal["gamma", "z-plus", "alpha2-beta1", "epsilon"],
        Help("For layers that work at many places: favour what adds, take only that, weigh it against what takes away, or divide in proportion."),
    ] = "gamma",
    dense: Annotated[
        Literal["epsilon", "as the others"], Help("For dense layers that see the whole picture: in proportion, or by the same rule.")
    ] = "epsilon",
    first: Annotated[
        Literal["box", "flat", "as the others"],
        Help("For the pixels: by their distance from black and white, among all in reach alike, or by the same rule."),
    ] = "box",
    epsilon: Annotated[
        float, Range(0, 100, 5, "% of a layer's size"), Help("In layers that divide in proportion, weak sums keep this much: less noise.")
    ] = 0,
) -> Answer:
    """Relevance of the target logit, signed `[H, W]` in logits, summed over colours; and how much of the logit was still on its
    way after each operation that keeps some."""
    rules = Rules(places=rule, dense="epsilon" if dense == "epsilon" else rule, first=first, epsilon=epsilon)
    relevance = relevance_of(model, sample.pixels, target, rules, run)
    label = model.label(relevance.target)
    way = relevance.on_the_way()
    return Answer(
        Heatmap(relevance.pixels[0].sum(0), signed=True, unit="logit", caption=f"What each pixel adds to the logit of “{label}” or takes away"),
        Curve(
            torch.arange(len(way)),
            {"still on its way": way, "the logit": torch.full_like(way, relevance.logit)},
            x_label="operations, from the logit to the pixels",
            y_label="relevance (logit)",
            caption="Conservation: where the line leaves the logit, biases and constants keep relevance, or add some",
        ),
        Predictions.of(model, relevance.logits, (sample.origin,)),
        Note(f"The logit of “{label}” is {relevance.logit:.2f}: {parts_of(relevance)}."),
    )
