"""How strongly each pixel moves the score of one class, with the noise of a single gradient averaged out: bright where
the class keeps reacting, however the picture is shaken a little.

SmoothGrad: Smilkov, Thorat, Kim, Viegas and Wattenberg 2017, arXiv:1706.03825, section 2.2: the mean of the gradients
over n copies of the picture, each with its own Gaussian noise, drawn as its absolute value. Other numbers may be taken of
the same gradients: the mean of their absolute values, in which what turns its sign still counts; the mean of their squares
(SmoothGrad-squared, Hooker et al. 2019, arXiv:1806.10758); their variance (VarGrad, Adebayo et al. 2018, arXiv:1810.03307),
which shows where the gradient is unsettled rather than where it is large. Departure: the noise is added in pixels between
0 and 1, before normalisation, and the colour channels become one number as in Saliency.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from techniques.base import Heatmap, Help, LoadedModel, Range, Run, Sample, Seed, TargetClass, technique, torch
from techniques.base.colour_channels import Channels, one_channel
from techniques.base.gradients import deviation_for, noisy_gradients

Statistic = Annotated[
    Literal["size of the mean", "mean of the sizes", "mean of the squares", "variance"],
    Help("What is taken of the noisy gradients: SmoothGrad as in the paper, the mean of their absolute values, SmoothGrad-squared, or VarGrad."),
]
MEAN, SIZES, SQUARES, VARIANCE = get_args(get_args(Statistic)[0])


@technique(
    title="SmoothGrad",
    family="Pixels",
    paper="arXiv:1706.03825",
    order=25,
    limits="A smooth map is not a truer one: averaging makes edges of the picture stand out, also those that decide nothing, and more "
    "noise shows a network that looks at spoilt pictures. It says how strongly a pixel acts, not in which direction.",
)
def smooth_grad(
    sample: Sample,
    model: LoadedModel,
    run: Run,
    *,
    target: TargetClass = None,
    statistic: Statistic = "size of the mean",
    noise: Annotated[int, Range(1, 50, 1, "% of the range of values"), Help("Standard deviation of the noise; the paper recommends 10 to 20.")] = 15,
    samples: Annotated[int, Range(2, 200, 1, "noisy copies"), Help("More copies are smoother and slower.")] = 25,
    channels: Channels = "max",
    seed: Seed = 0,
) -> Heatmap:
    """Unsigned map `[H, W]`, in logits per unit of intensity (from black to white), or in their squares."""
    run.check()
    target = model.target(target, sample.pixels)
    total = torch.zeros_like(sample.pixels[0], dtype=torch.float64)  # a variance is a small difference of large sums
    squares, count = torch.zeros_like(total), 0

    def shown() -> Heatmap:
        mean = total / count
        values = {MEAN: mean.abs(), SIZES: mean, SQUARES: squares / count, VARIANCE: (squares / count - mean**2).clamp(min=0)}[statistic]
        values = one_channel(values, channels).float()
        unit = "logit per unit of intensity" + (", squared" if statistic in (SQUARES, VARIANCE) else "")
        said = f"How strongly each pixel moves the logit of “{model.label(target)}”: {statistic}"
        if statistic == VARIANCE:
            said = f"How much the effect of each pixel on the logit of “{model.label(target)}” varies"
        return Heatmap(values, unit=unit, caption=f"{said} over {count} copies with {noise} % noise")

    deviation = deviation_for(sample.pixels, noise)
    for gradients in noisy_gradients(model, sample.pixels[0], target, run, samples=samples, deviation=deviation, seed=seed):
        gradients = gradients.double()
        total += (gradients.abs() if statistic == SIZES else gradients).sum(0)
        squares += gradients.square().sum(0)
        count += len(gradients)
        if count < samples and (count // len(gradients)).bit_count() == 1:
            run.show(shown)
    return shown()
