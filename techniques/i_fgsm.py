"""FGSM in small steps, each with a gradient of its own: the same few shades of grey, spent where they count after every turn,
change the answer far more often than one large step.

Basic iterative method, or I-FGSM: Kurakin, Goodfellow and Bengio 2017, arXiv:1607.02533, section 2.2: X[n + 1] = Clip(X[n] +
alpha * sign(gradient of the loss at X[n])), where the clip keeps every value within epsilon of the picture and inside
[0, 1]. The defaults are theirs: alpha is 1 of 255, and with epsilon 4 they take min(epsilon + 4, 1.25 * epsilon) = 5
steps. Departures: the class moved away from is the predicted one, since nobody tells us the true one; any class may be
named as the target, not the least likely one alone (section 2.3); alpha is given as a share of epsilon; l2 and the margin
as in FGSM. Same pixels as torchattacks' BIM and foolbox's; the algorithm stands here because both hide its steps, and
nothing could be shown or stopped on the way.
"""

from __future__ import annotations

from collections.abc import Iterator

from techniques.base import Epsilon, Steps
from techniques.base.attacks import Ball, Iterate, Loss, Norm, StepSize, Task, attack


@attack(
    title="I-FGSM",
    paper="arXiv:1607.02533",
    order=12,
    limits="It begins at the picture itself and always goes the same way; PGD, the same from random points, finds what lies "
    "elsewhere in the ball. What it finds is fitted to this model and fools another one less often than one step of FGSM does.",
)
def i_fgsm(
    task: Task, *, epsilon: Epsilon = 4.0, norm: Norm = "linf", steps: Steps = 5, step_size: StepSize = 0.25, loss: Loss = "cross-entropy"
) -> Iterator[Iterate]:
    """One forward and one backward pass per step, and one more forward pass to see what came of it."""
    ball = Ball(task.pixels, epsilon, norm)
    pixels = task.pixels
    for step in task.steps(steps):
        logits, gradient = task.gradient(pixels)
        if step:
            yield Iterate(pixels, logits, final=False)
        pixels = ball.project(pixels + step_size * ball.radius * ball.direction(gradient))
    yield Iterate(pixels, task.logits(pixels))
