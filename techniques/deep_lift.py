"""Which pixels make the difference between this picture and one with nothing to see, handed back through every activation
of the network: positive values raised the score of the class, negative ones lowered it, and together they add up.

DeepLIFT: Shrikumar, Greenside and Kundaje 2017, arXiv:1704.02685, the rescale rule, section 3.5.2; `techniques.base.multipliers`
has the rules, among them ours for products, normalisation and softmax, which the paper does not know. One run on the
baseline, one on the picture and one way back: as fast as a gradient. Departures: the colour channels are summed, and what
is explained is the logit of the class alone, not its distance from the mean of all logits (section 3.6).

Written here because captum's, on modules alone, refuses networks that use a module twice, leaves its rule for max pooling
out where a ReLU comes before, keeps one of two windows that share their largest input, and has the plain gradient for
SiLU, GELU, Hardswish, and products.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Heatmap, LoadedModel, Note, Run, Sample, Seed, TargetClass, technique
from techniques.base.attributions import Baseline, attribution_maps, completeness
from techniques.base.covering import fill_pixels
from techniques.base.multipliers import multipliers


class Answer(NamedTuple):
    deep_lift: Heatmap
    averaged: Heatmap
    note: Note


@technique(
    title="DeepLIFT",
    family="Pixels",
    paper="arXiv:1704.02685",
    order=38,
    limits="Everything is told against one baseline; pixels of its own colour get nothing. The rule looks at each activation alone, so effects "
    "that only two together have are shared out by rule and not by what they do. That a map adds up does not make it right.",
)
def deep_lift(
    sample: Sample, model: LoadedModel, run: Run, *, target: TargetClass = None, baseline: Baseline = "black", seed: Seed = 0
) -> Answer:
    """Signed map `[H, W]` in logits, the same averaged over surroundings, and how well it adds up to the difference between picture and baseline."""
    run.check()
    start = fill_pixels(baseline, sample.pixels, seed)
    found = multipliers(model, sample.pixels, start, target, run)
    shares = (sample.pixels - start) * found.multipliers
    label = model.label(found.target)
    after, before = float(found.logits[found.target]), float(found.of_baseline[found.target])
    cause = "A step of this network has no rule and kept its plain gradient, or rounding grew on the way back"
    caption = f"What raised (positive) and lowered (negative) the logit of “{label}”, compared with {baseline}"
    return Answer(
        *attribution_maps(shares, caption),
        Note(completeness(float(shares.sum()), after, before, label, f"{baseline} baseline", cause)),
    )
