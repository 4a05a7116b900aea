"""What the class asks of the picture when its score is sent back through the network with a ReLU at every activation, as
though the network were run backwards: bright where that asks for much.

Deconvolutional network: Zeiler and Fergus 2014, arXiv:1311.2901, section 2.1. `techniques.base.rectifiers` has the rule, and
says how it is carried over to activations that are not ReLU. Max pooling sends back to the place of its maximum, as their
switches do. Departures: the way back begins at a class logit, not at one answer of one filter (as in Springenberg et al.
2015 and in captum); the colour channels become one number as in Saliency, and the picture in colour follows. Activations
in place, called as functions, or used twice are found all the same.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Heatmap, LoadedModel, Note, Picture, Run, Sample, TargetClass, technique
from techniques.base.colour_channels import Channels, in_colour, one_channel
from techniques.base.rectifiers import no_rectifier, rectified_gradient


class Answer(NamedTuple):
    deconvolution: Heatmap
    in_colour: Picture | None
    note: Note


@technique(
    title="Deconvolution",
    family="Pixels",
    paper="arXiv:1311.2901",
    order=48,
    limits="Only max pooling tells it which picture this is: without any, the map is the same for every picture, and with some it still "
    "redraws patterns that a class likes rather than what decided here. Its size has no meaning, only its shape.",
    why_not=no_rectifier,
)
def deconvolution(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    channels: Channels = "max",
) -> Answer:
    """Unsigned map `[H, W]`, the size of what arrives, in logits per unit of intensity as the rule counts; and the same in colour, signed
    `[C, H, W]`. Raises IncompatibleModel where the network calls no rectifier."""
    run.check()
    found = rectified_gradient(model, sample.pixels, target, "deconvolution")
    gradient, label = found.gradient[0], model.label(found.target)
    return Answer(
        Heatmap(
            one_channel(gradient.abs(), channels),
            unit="logit per unit of intensity",
            caption=f"Size of what “{label}” sends back to each pixel, whichever sign it has",
        ),
        in_colour(gradient, "What arrives, in colour: brighter than grey is positive"),
        Note(found.told),
    )
