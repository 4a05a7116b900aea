"""A search for the worst picture nearby: many small steps against the prediction, or towards a chosen class, never
leaving the pictures that look the same.

Projected gradient descent: Madry et al. 2018, arXiv:1706.06083, section 2.1: from a random point of the ball,
repeat x <- project(x + alpha * sign(gradient of the loss at x)), and restart from other points. Departures: the
class moved away from is the predicted one, since nobody tells us the true one; a target may be named, and then its
loss is descended; with l2 the step has length alpha along the gradient. Where a model is very sure, the cross-entropy has
hardly a gradient, and steps of one size end up going to and fro: the margin is climbed instead, theirs of section 5 without its
confidence, and the steps shrink, as in Auto-PGD (Croce and Hein 2020, arXiv:2003.01690), here from 2 * epsilon, across the ball, along
a cosine. The paper's settings can be chosen: the cross-entropy and steps of 0.25 * epsilon (2.5 * epsilon / steps, their appendix), which
more than twice as many photographs withstand (docs/attacks.md has the figures). Of several starts the one that succeeds is kept, and among
equals the one with the largest loss. The algorithm stands here because captum's PGD (0.9) takes gradients below 1e-6 for zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from techniques.base import Epsilon, Help, Range, Steps
from techniques.base.attacks import Ball, Iterate, Loss, Norm, StepSize, Task, attack


@attack(
    title="PGD",
    paper="arXiv:1706.06083",
    order=20,
    limits="A picture that PGD does not find may still exist: failure is no proof of robustness. Success says that the "
    "model can be fooled at this epsilon, not that such pictures occur by chance; compare the white noise.",
)
def pgd(
    task: Task,
    *,
    epsilon: Epsilon = 2.0,
    norm: Norm = "linf",
    steps: Steps = 10,
    step_size: StepSize = 2.0,
    shrinking: Annotated[bool, Help("Let the steps get smaller, down to zero along a cosine; otherwise they are all of one size.")] = True,
    random_start: Annotated[bool, Help("Begin at a random point of the ball instead of at the picture itself.")] = True,
    restarts: Annotated[int, Range(1, 20, 1, "starts"), Help("How many starts; all but the first are random, and the best is kept.")] = 1,
    loss: Loss = "margin",
) -> Iterator[Iterate]:
    """One forward and one backward pass per step, one more forward pass per start."""
    ball = Ball(task.pixels, epsilon, norm)
    for step in task.steps(restarts * steps):
        if step % steps == 0:
            pixels = ball.random_start(task.generator) if random_start or step else ball.pixels
        logits, gradient = task.gradient(pixels)
        if step % steps:
            yield Iterate(pixels, logits, final=False)
        share = step_size * ((1 + math.cos(math.pi * (step % steps) / steps)) / 2 if shrinking else 1)
        pixels = ball.project(pixels + share * ball.radius * ball.direction(gradient))
        if step % steps == steps - 1:
            yield Iterate(pixels, task.logits(pixels))
