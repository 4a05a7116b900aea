"""Fine lines of the picture that the network's activations were raised by: what is left of the gradient of a class when
every ReLU on the way back stops what is negative.

Guided backpropagation: Springenberg, Dosovitskiy, Brox and Riedmiller 2015, arXiv:1412.6806, the section on
deconvolution and figure 1. `techniques.base.rectifiers` has the rule, and says how it is carried over to activations that
are not ReLU. Departures: the way back begins at a class logit, not at a filter; the colour channels become one number as
in Saliency, and the picture in colour, as in the paper, follows. Activations in place, called as functions, or used twice
are found all the same.
"""

from __future__ import annotations

from typing import NamedTuple

from techniques.base import Heatmap, LoadedModel, Note, Picture, Run, Sample, TargetClass, technique
from techniques.base.colour_channels import Channels, in_colour, one_channel
from techniques.base.rectifiers import no_rectifier, rectified_gradient


class Answer(NamedTuple):
    guided_backpropagation: Heatmap
    in_colour: Picture | None
    note: Note


@technique(
    title="Guided backpropagation",
    family="Pixels",
    paper="arXiv:1412.6806",
    order=45,
    limits="It mostly redraws the edges of the picture: the map changes little with the class asked for, and little when the weights near the answer "
    "are scrambled (Adebayo et al. 2018, arXiv:1810.03292). Sharp lines are no sign that the network used them.",
    why_not=no_rectifier,
)
def guided_backpropagation(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    channels: Channels = "max",
) -> Answer:
    """Unsigned map `[H, W]`, the size of the guided gradient in logits per unit of intensity; and the same in colour, signed
    `[C, H, W]`. Raises IncompatibleModel where the network calls no rectifier."""
    run.check()
    found = rectified_gradient(model, sample.pixels, target, "guided")
    gradient, label = found.gradient[0], model.label(found.target)
    return Answer(
        Heatmap(
            one_channel(gradient.abs(), channels),
            unit="logit per unit of intensity",
            caption=f"Size of the guided gradient of “{label}”, whichever sign it has",
        ),
        in_colour(gradient, "The guided gradient in colour: brighter than grey is positive"),
        Note(found.told),
    )
