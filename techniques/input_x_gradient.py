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
from techniques.base.attributions import Baseline, attribution_maps, completeness
from techniques.base.covering import fill_pixels
from techniques.base.hooks import gradient_at


class Answer(NamedTuple):
    input_x_gradient: Heatmap
    averaged: Heatmap
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
    """Signed map `[H, W]` in logits, summed over the channels, the same averaged over surroundings, and how well it adds up."""
    run.check()
    start = fill_pixels(baseline, sample.pixels, seed)
    pixels = sample.pixels.clone().requires_grad_(True)
    with torch.enable_grad():
        logits = model.logits(pixels)[0]
    target = int(model.predicted(logits)) if target is None else target
    shares = (sample.pixels - start) * gradient_at(logits[target], pixels)
    run.check()
    with torch.no_grad():
        before, after = float(model.logits(start)[0, target]), float(logits[target])
    label = model.label(target)
    return Answer(
        *attribution_maps(shares, f"Gradient times pixel, counted from {baseline}: positive speaks for “{label}”, negative against it"),
        Note(completeness(float(shares.sum()), after, before, label, f"{baseline} baseline", "The network is not linear in between")),
    )
