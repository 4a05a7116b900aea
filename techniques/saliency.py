"""How strongly each pixel moves the score of one class: bright where a small change of the pixel changes the
logit most, whichever way.

Simonyan, Vedaldi and Zisserman 2014, arXiv:1312.6034, section 3: the map is |d logit / d pixel|, the largest of
the colour channels. Departures: the mean over channels may be chosen instead; and the signed view, gradient times
input, is Shrikumar et al. 2016, arXiv:1605.01713, summed over channels, with black as the reference.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import Heatmap, Help, LoadedModel, Run, Sample, TargetClass, technique, torch


class Answer(NamedTuple):
    saliency: Heatmap
    input_times_gradient: Heatmap


@technique(
    title="Saliency",
    family="Where it looks",
    paper="arXiv:1312.6034",
    limits="A gradient speaks of tiny changes only. It does not say which regions matter as a whole, it is noisy, "
    "and a bright pixel may speak for the class or against it; the signed view tells the two apart.",
)
def saliency(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    channels: Annotated[Literal["max", "mean"], Help("How the gradients of the colour channels become one number.")] = "max",
) -> Answer:
    """Absolute gradient of the target logit `[H, W]` in logits per unit of pixel intensity, and the signed
    product with the pixels `[H, W]` in logits."""
    pixels = sample.pixels.clone().requires_grad_(True)
    with torch.enable_grad():
        logits = model.logits(pixels)
        target = int(logits[0].argmax()) if target is None else target
        (gradient,) = torch.autograd.grad(logits[0, target], pixels)
    run.check()
    size = gradient[0].abs()
    label = model.label(target)
    return Answer(
        Heatmap(
            size.amax(0) if channels == "max" else size.mean(0),
            unit="logit per unit of intensity",
            caption=f"How strongly each pixel moves the score of “{label}”",
        ),
        Heatmap(
            (gradient * sample.pixels)[0].sum(0),
            signed=True,
            unit="logit",
            caption=f"Gradient times pixel: red speaks for “{label}”, blue against it",
        ),
    )
