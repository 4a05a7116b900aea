"""One step that fools a classifier: every pixel moves by the same small amount, each in the direction that hurts
the prediction most, or helps a chosen class most.

Fast gradient sign method: Goodfellow, Shlens and Szegedy 2015, arXiv:1412.6572, section 4:
x + epsilon * sign(gradient of the loss at x). Departures: the class moved away from is the predicted one, since
nobody tells us the true one; a target may be named, and then its loss is descended (Kurakin, Goodfellow and Bengio
2017, arXiv:1607.02533, section 2.3); with l2 the step goes along the gradient itself (Miyato et al. 2017,
arXiv:1605.07725, section 3); the result is clipped to [0, 1]; the margin may take the place of the cross-entropy
(Carlini and Wagner 2017, arXiv:1608.04644, section V, without their confidence). The algorithm stands here
because captum's FGSM (0.9) takes gradients below 1e-6 for zero and leaves those pixels where they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from techniques.base import Epsilon
from techniques.base.attacks import Ball, Iterate, Loss, Norm, Task, attack


@attack(
    title="FGSM",
    paper="arXiv:1412.6572",
    order=10,
    limits="One step along the gradient is the cheapest attack, not the strongest: a model that withstands it is not "
    "robust, and at a large epsilon the step may overshoot. The picture fools this model; another one may see nothing in it.",
)
def fgsm(task: Task, *, epsilon: Epsilon = 4.0, norm: Norm = "linf", loss: Loss = "cross-entropy") -> Iterator[Iterate]:
    """One forward and one backward pass, and one more forward pass to see what came of it."""
    ball = Ball(task.pixels, epsilon, norm)
    _, gradient = task.gradient(task.pixels)
    pixels = ball.project(task.pixels + ball.radius * ball.direction(gradient))
    yield Iterate(pixels, task.logits(pixels))
