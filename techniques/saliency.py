"""How strongly each pixel moves the score of one class: bright where a small change of the pixel changes the
logit most, whichever way.

Simonyan, Vedaldi and Zisserman 2014, arXiv:1312.6034, section 3: the map is |d logit / d pixel|, the largest of
the colour channels. Departure: the mean over channels may be chosen instead.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import Heatmap, Help, LoadedModel, Run, Sample, TargetClass, technique, torch
from techniques.base.colour_channels import one_channel
from techniques.base.hooks import gradient_at


class Answer(NamedTuple):
    saliency: Heatmap


@technique(
    title="Saliency",
    family="Pixels",
    paper="arXiv:1312.6034",
    order=20,
    limits="A gradient speaks of tiny changes only. It does not say which regions matter as a whole, it is noisy, "
    "and a bright pixel may speak for the class or against it; Input × gradient tells the two apart.",
)
def saliency(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    channels: Annotated[Literal["max", "mean"], Help("How the gradients of the colour channels become one number.")] = "max",
) -> Answer:
    """Absolute gradient of the target logit `[H, W]` in logits per unit of intensity (from black to white)."""
    pixels = sample.pixels.clone().requires_grad_(True)
    with torch.enable_grad():
        logits = model.logits(pixels)
        target = int(model.predicted(logits[0])) if target is None else target
        run.check()
        gradient = gradient_at(logits[0, target], pixels)
    size = gradient[0].abs()
    return Answer(
        Heatmap(
            one_channel(size, channels),
            unit="logit per unit of intensity",
            caption=f"How strongly each pixel moves the logit of “{model.label(target)}”",
        ),
    )
