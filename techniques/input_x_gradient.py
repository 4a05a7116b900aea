"""What each pixel would add to the score of a class if the network were linear here: positive values speak for the class,
negative ones against it.

Input times gradient: named so by Shrikumar, Greenside, Shcherbina and Kundaje 2016, arXiv:1605.01713, which weighs it
against DeepLIFT. Departures: the colour channels are summed; and the pixels may be counted from another baseline than
black, (x - x0) * gradient. It is the first step of integrated gradients: for a linear network the map adds up to the
logit of the picture less that of the baseline, and how far it misses that is told.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Heatmap, LoadedModel, Note, Run, Sample, Seed, TargetClass, technique, torch
from techniques.base.completeness import Baseline, completeness
from techniques.base.covering import fill_pixels
from techniques.base.gradients import gradients_of


class Answer(NamedTuple):
    input_x_gradient: Heatmap
    note: Note


@technique(
    title="Input × gradient",
    family="Pixels",
    paper="arXiv:1605.01713",
    order=22,
    limits="It takes the network for linear between the baseline and the picture, which it is not: where an activation has "
    "levelled off, the gradient is zero and so is the share of what brought it there. Pixels like the baseline get nothing. "
    "Integrated gradients and DeepLIFT go the whole way.",
)
def input_x_gradient(
    sample: Sample, model: LoadedModel, run: Run, *, target: TargetClass = None, baseline: Baseline = "black", seed: Seed = 0
) -> Answer:
    """Signed map `[H, W]` in logits, summed over the channels, and how well it adds up."""
    target = model.target(target, sample.pixels)
    run.check()
    start = fill_pixels(baseline, sample.pixels, seed)
    logit, gradient = gradients_of(model, sample.pixels, target)
    run.check()
    with torch.no_grad():
        before = model.logits(start)[0, target]
    values = ((sample.pixels - start) * gradient)[0].sum(0)
    label = model.label(target)
    return Answer(
        Heatmap(values, signed=True, unit="logit", caption=f"Gradient times pixel, from {baseline}: positive for “{label}”, negative against it"),
        Note(completeness(float(values.sum()), float(logit), float(before), label, f"{baseline} baseline", "The network is not linear in between")),
    )
