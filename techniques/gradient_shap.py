"""Which pixels make the difference between this picture and many with nothing to see, on average: positive values raised
the score of the class, negative ones lowered it.

Gradient SHAP: Lundberg and Lee 2017, arXiv:1705.07874, approximate Shapley values; as an expectation of gradients in the
SHAP library, and as expected gradients in Erion et al. 2021, arXiv:1906.10670: the mean of (x - x0) times the
gradient at a random point between a random baseline x0 and the picture x. Departures: the baselines are not pictures of a
training set, which an app does not have, but random even colours, noise, or the picture in random degrees of blur; no noise
is added to the points (SmoothGrad does that); one point lies in each of n equal parts of the way, in random order, so that
no part of it is left out; the colour channels are summed.

Each baseline meets one point. What the map should add up to is the logit less the baselines' mean; that it does so only
on average, and how far chance may lead it astray, is told.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from techniques.base import Heatmap, Help, LoadedModel, Note, Range, Run, Sample, Seed, TargetClass, technique, torch
from techniques.base.attributions import attribution_maps
from techniques.base.covering import blurred
from techniques.base.gradients import batches, gradients_of

Baselines = Annotated[
    Literal["even colours", "noise", "blurred copies"],
    Help("What the picture is compared with: pictures of one random colour each, of noise, or the picture itself in random degrees of blur."),
]


class Answer(NamedTuple):
    gradient_shap: Heatmap
    averaged: Heatmap
    note: Note


@technique(
    title="Gradient SHAP",
    family="Pixels",
    paper="arXiv:1705.07874",
    order=34,
    limits="Shapley values are its promise only for networks that are linear enough, and features that do not depend on each other, "
    "which pixels do. It depends on what counts as nothing to see, and on chance: repeat it with another seed and with more samples.",
)
def gradient_shap(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    baselines: Baselines = "even colours",
    samples: Annotated[int, Range(5, 500, 1, "baselines"), Help("How many baselines; more are less noisy and slower.")] = 50,
    seed: Seed = 0,
) -> Answer:
    """Signed map `[H, W]` in logits, the mean over all baselines, the same averaged over surroundings, and what it adds up to."""
    pixels, generator = sample.pixels, torch.Generator().manual_seed(seed)
    run.check()
    target = model.target(target, pixels)
    label, total, sums, before = model.label(target), torch.zeros_like(pixels), [], []

    def shown() -> Answer:
        caption = f"What raised (positive) and lowered (negative) the logit of “{label}”, mean over {len(sums)} baselines ({baselines})"
        return Answer(*attribution_maps(total / len(sums), caption), Note(_told(sums, before, after, label)))

    ways = ((torch.randperm(samples, generator=generator) + torch.rand(samples, generator=generator)) / samples).view(-1, 1, 1, 1).to(pixels)
    after = float(model.valid_logits(pixels)[0, target])
    for number, batch in enumerate(run.steps(batches(model, samples), "Batch of baselines"), 1):
        starts = torch.cat([_baseline(baselines, pixels, generator) for _ in batch])
        with torch.no_grad():
            before += model.logits(starts)[:, target].tolist()
        _, gradients = gradients_of(model, starts + ways[batch.start : batch.stop] * (pixels - starts), target)
        products = (pixels - starts) * gradients
        total += products.sum(0)
        sums += products.sum((1, 2, 3)).tolist()
        if batch.stop < samples and number.bit_count() == 1:
            run.show(shown)
    return shown()


def _baseline(kind: str, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """One random picture `[1, C, H, W]` in `[0, 1]`, drawn on the CPU."""
    if kind == "noise":
        return torch.rand(pixels.shape, generator=generator).to(pixels)
    if kind == "blurred copies":
        return blurred(pixels, (0.02 + 0.18 * float(torch.rand((), generator=generator))) * min(pixels.shape[2:]))
    return torch.rand(1, pixels.shape[1], 1, 1, generator=generator).to(pixels).expand_as(pixels)


def _told(sums: list[float], before: list[float], after: float, label: str) -> str:
    """What the map adds up to, beside what it should, with the standard error of the mean of `sums`."""
    count = len(sums)
    total, base = sum(sums) / count, sum(before) / count
    gaps = [value - (after - start) for value, start in zip(sums, before)]
    error = (sum((gap - (total - after + base)) ** 2 for gap in gaps) / max(1, count - 1) / count) ** 0.5
    return (
        f"The map adds up to {total:.3f}; the logit of “{label}” is {after:.3f} here and {base:.3f} on average over the {count} baselines, "
        f"{after - base:.3f} apart. Chance alone may make a difference of about ± {2 * error:.3f} between the two; more baselines make it smaller."
    )
