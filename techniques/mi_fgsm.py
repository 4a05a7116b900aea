"""I-FGSM with a memory: each step follows the average direction so far instead of the last gradient alone, which carries it
over small bumps that only this model has. Such pictures fool other models, too, more often than those of I-FGSM.

Momentum iterative FGSM: Dong et al. 2018, arXiv:1710.06081, section 3.1, algorithm 1: g <- decay * g + gradient / (its L1
norm), x <- x + alpha * sign(g) with alpha = epsilon / steps; with l2 the step goes along g itself (section 3.3, equation 9).
Departures: the class moved away from is the predicted one, since nobody tells us the true one; the margin may take the place
of the cross-entropy. Same pixels as torchattacks' MIFGSM; foolbox's of the same name (3.3.4) adds up gradients without
dividing by their norm. The algorithm stands here because torchattacks hides its steps, and nothing could be shown or
stopped on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from techniques.base import Epsilon, Help, Range, Steps, torch
from techniques.base.attacks import Ball, Iterate, Loss, Norm, Task, attack, unit


@attack(
    title="MI-FGSM",
    paper="arXiv:1710.06081",
    order=14,
    limits="That other models are fooled as well is the aim of the method, and nothing in these panels measures it: send the picture "
    "to another model. On this model itself the memory is no advantage; I-FGSM and PGD reach as far.",
)
def mi_fgsm(
    task: Task,
    *,
    epsilon: Epsilon = 4.0,
    norm: Norm = "linf",
    steps: Steps = 10,
    decay: Annotated[float, Range(0, 2, 0.1), Help("How much of the direction so far is kept at each step; 0 is I-FGSM.")] = 1.0,
    loss: Loss = "cross-entropy",
) -> Iterator[Iterate]:
    """One forward and one backward pass per step, and one more forward pass to see what came of it."""
    ball = Ball(task.pixels, epsilon, norm)
    pixels, momentum = task.pixels, torch.zeros_like(task.pixels)
    for step in task.steps(steps):
        logits, gradient = task.gradient(pixels)
        if step:
            yield Iterate(pixels, logits, final=False)
        momentum = decay * momentum + unit(gradient, order=1)
        pixels = ball.project(pixels + ball.radius / steps * ball.direction(momentum))
    yield Iterate(pixels, task.logits(pixels))
