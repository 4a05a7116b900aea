"""A picture that goes on fooling the model after it is turned, moved, scaled, blurred and lit anew: what an attack needs to
leave the computer, for a print or a photograph of a print.

Expectation over transformation: Athalye, Engstrom, Ilyas and Kwok 2018, arXiv:1707.07397, section 2.1: the expected log probability
is climbed over a distribution of transformations, its gradient estimated as the mean over a sample drawn anew at each step. Departures:
they hold the expected distance in the colour space LAB down by a Lagrangian; here the change stays in a ball of size epsilon around the
picture, as in PGD (as Athalye, Carlini and Wagner 2018, arXiv:1802.00420, section 3.3, attack defences that draw at random); the picture itself
is always one of the sample, so that it fools unchanged, too; the class moved away from is the predicted one where none is aimed at.

Transformations: turned, moved, enlarged or shrunk with bilinear interpolation, blurred, brighter or darker, with Gaussian noise; each
strength uniform within its limit. The algorithm stands here because ART (1.20), the one library tried that has it, knows neither shift nor blur,
turns by nearest neighbours, whose gradient misses pixels, multiplies the samples of each kind of transformation with those of the next, and draws
from numpy's global generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from techniques.base import Epsilon, Help, Range, Steps, torch
from techniques.base.attacks import Ball, Iterate, Loss, Norm, StepSize, Task, attack
from techniques.base.gradients import batches
from techniques.base.hooks import gradient_at
from techniques.base.transformations import Reach, transformed


@attack(
    title="EOT",
    paper="arXiv:1707.07397",
    order=50,
    limits="It holds for transformations like those it was made under, and only on average: look at what survives. A printer and a camera "
    "change colours, too, which is not tried here. The stronger the transformations, the larger the epsilon that is needed.",
)
def eot(
    task: Task,
    *,
    epsilon: Epsilon = 8.0,
    norm: Norm = "linf",
    steps: Steps = 10,
    step_size: StepSize = 0.2,
    samples: Annotated[int, Range(1, 64, 1, "versions"), Help("How many versions each step looks at, one of them the picture itself.")] = 6,
    rotation: Annotated[float, Range(0, 90, 1, "degrees"), Help("How far a version may be turned, either way.")] = 10.0,
    shift: Annotated[float, Range(0, 40, 1, "% of the side"), Help("How far a version may be moved, in each direction.")] = 5.0,
    scale: Annotated[float, Range(0, 50, 1, "%"), Help("By how much a version may be larger or smaller.")] = 10.0,
    brightness: Annotated[float, Range(0, 50, 1, "% of the range"), Help("By how much a version may be brighter or darker.")] = 10.0,
    noise: Annotated[float, Range(0, 64, 1, "of 255"), Help("The largest standard deviation of the noise on a version.")] = 8.0,
    blur: Annotated[float, Range(0, 5, 0.1, "pixels"), Help("The largest standard deviation of the blur of a version.")] = 1.5,
    loss: Loss = "cross-entropy",
) -> Iterator[Iterate]:
    """One forward and one backward pass per version and step, one more forward pass at the end."""
    ball = Ball(task.pixels, epsilon, norm)
    reach = Reach(shift / 100, scale / 100, rotation, brightness / 100, noise / 255, blur)
    pixels = task.pixels
    for step in task.steps(steps):
        logits, gradient = _expected(task, pixels, reach, samples)
        if step:
            yield Iterate(pixels, logits, final=False)
        pixels = ball.project(pixels + step_size * ball.radius * ball.direction(gradient))
    yield Iterate(pixels, task.logits(pixels))


def _expected(task: Task, pixels: torch.Tensor, reach: Reach, samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[B, K]` of the pictures, and the mean over their versions of the gradient of each one's gain, `[B, C, H, W]`."""
    total, own = torch.zeros_like(pixels), None
    for part in batches(task.model, samples, len(pixels)):
        leaf = pixels.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = task.differentiable(torch.cat([transformed(leaf, reach, task.generator) if number else leaf for number in part]))
            total += gradient_at(task.goal.repeated(len(part)).gain(logits).sum() / samples, leaf)
        own = logits[: len(pixels)].detach() if own is None else own
    task.see(total)
    return own, total
